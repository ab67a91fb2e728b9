{{ config(materialized='table') }}

-- Numerators and denominators of K-01 to K-05. One row per indicator, municipality and year.
{% set per_head = [
    ('K-01', 'municipal_t', 'municipal_not_stated'),
    ('K-02', 'residual_t', 'residual_not_stated'),
    ('K-03', 'bio_green_t', 'bio_green_not_stated'),
] %}
{% set shares = [
    ('K-04', 'recycled_t', 'treatment_not_stated'),
    ('K-05', 'bio_recycled_t', 'bio_treatment_not_stated'),
] %}

with

parts as (
    {% for indicator, quantity, gaps in per_head %}
    select
        '{{ indicator }}' as indicator,
        region_id,
        area_code,
        period,
        cast({{ quantity }} * 1000 as decimal(38, 6)) as numerator,
        cast(population as decimal(38, 6)) as denominator,
        case
            when supply_missing_reason is not null then supply_missing_reason
            when {{ gaps }} is not null then 'not_stated: ' || {{ gaps }}
            when {{ quantity }} is null then 'not_stated'
            when population is null then 'no_population'
            when population = 0 then 'denominator_zero'
        end as missing_reason,
        is_declared_empty and population is not null as is_declared_empty,
        case when is_population_substitute then cast(population as decimal(38, 6)) else 0 end as substituted,
        case
            when population_stale_since < stale_since or stale_since is null then population_stale_since
            else stale_since
        end as stale_since
    from {{ ref('int_waste_by_area') }}
    union all
    {% endfor %}
    {% for indicator, quantity, gaps in shares %}
    select
        '{{ indicator }}' as indicator,
        region_id,
        area_code,
        period,
        {{ quantity }} as numerator,
        municipal_t as denominator,
        case
            when supply_missing_reason is not null then supply_missing_reason
            when municipal_not_stated is not null then 'not_stated: ' || municipal_not_stated
            when municipal_t is null then 'not_stated'
            when {{ gaps }} is not null then 'treatment_not_stated: ' || {{ gaps }}
            when {{ quantity }} is null then 'treatment_not_stated'
            when municipal_t = 0 then 'denominator_zero'
        end as missing_reason,
        is_declared_empty,
        cast(0 as decimal(38, 6)) as substituted,
        stale_since
    from {{ ref('int_waste_by_area') }}
    {{ "union all" if not loop.last }}
    {% endfor %}
)

select
    indicator,
    region_id,
    area_code as area,
    true as is_rolled_up,
    period,
    cast(null as decimal(28, 6)) as stated_value,
    case when missing_reason is null then numerator end as numerator,
    case
        when indicator in ('K-01', 'K-02', 'K-03') or missing_reason is null then denominator
    end as denominator,
    missing_reason,
    is_declared_empty,
    -- the contract does not say which quantities were estimated, so nothing is claimed
    cast(null as decimal(38, 6)) as estimated,
    cast(substituted as decimal(38, 6)) as substituted,
    denominator as share_base,
    stale_since
from parts
