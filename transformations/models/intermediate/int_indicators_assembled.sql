-- Parts of all indicators put together, and rolled up to the region where they add up. One row per indicator, area and
-- period. A region has a value when each of its areas has one or declared that there was nothing; a declared nothing
-- adds nothing. Otherwise the areas that lack one are named.
{% set families = [
    'int_indicator_parts_waste',
    'int_indicator_parts_green_waste',
    'int_indicator_parts_load_profile',
    'int_indicator_parts_supply',
] %}

with

parts as (
    {% for family in families %}
    select
        indicator,
        region_id,
        area,
        is_rolled_up,
        period,
        stated_value,
        numerator,
        denominator,
        missing_reason,
        is_declared_empty,
        estimated,
        substituted,
        share_base,
        stale_since
    from {{ ref(family) }}
    {{ "union all" if not loop.last }}
    {% endfor %}
),

rolled_up as (
    select
        indicator,
        region_id,
        period,
        {{ total('numerator') }} as numerator,
        {{ total("case when missing_reason is null or is_declared_empty then denominator end") }} as denominator,
        {{ count_where('missing_reason is null') }} as areas_with_value,
        {{ list_text("case when missing_reason is not null and not is_declared_empty then area end") }}
            as incomplete_areas,
        {{ total('case when missing_reason is null then estimated end') }} as estimated,
        {{ total('case when missing_reason is null or is_declared_empty then substituted end') }} as substituted,
        {{ total('case when missing_reason is null or is_declared_empty then share_base end') }} as share_base,
        min(stale_since) as stale_since
    from parts
    where is_rolled_up
    group by indicator, region_id, period
),

rows_of_all as (
    select
        indicator,
        area,
        period,
        stated_value,
        numerator,
        denominator,
        missing_reason,
        estimated,
        substituted,
        share_base,
        stale_since
    from parts
    union all
    select
        indicator,
        region_id as area,
        period,
        cast(null as decimal(28, 6)) as stated_value,
        numerator,
        -- the inhabitants of some areas are no denominator of the region
        case when incomplete_areas is null then denominator end as denominator,
        case
            when incomplete_areas is not null then 'incomplete: ' || incomplete_areas
            when areas_with_value = 0 then 'nothing_to_report'
            when denominator = 0 then 'denominator_zero'
        end as missing_reason,
        estimated,
        substituted,
        share_base,
        stale_since
    from rolled_up
)

select
    indicator,
    area,
    period,
    case
        when missing_reason is null then coalesce(stated_value, {{ ratio('numerator', 'denominator') }})
    end as indicator_value,
    case when missing_reason is null then numerator end as numerator,
    denominator,
    missing_reason,
    case when missing_reason is null then {{ ratio('estimated', 'share_base') }} end as estimated_share,
    case when missing_reason is null then {{ ratio('substituted', 'share_base') }} end as substituted_share,
    stale_since
from rows_of_all
