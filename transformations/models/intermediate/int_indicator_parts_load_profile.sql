{{ config(materialized='table') }}

-- Numerators and denominators of K-22 to K-24. One row per indicator, area and month; the region's load is that of all
-- its points at the same time and is not the sum of peaks.
with

loads as (
    select
        region_id,
        area,
        period,
        points,
        quarter_hours,
        received,
        complete_intervals,
        peak_kw,
        base_kw,
        energy_kwh,
        substitutes,
        estimates,
        stale_since,
        case
            when supply_missing_reason is not null then supply_missing_reason
            when received is null then 'not_stated'
        end as missing_reason
    from {{ ref('int_load_by_month') }}
),

parts as (
    select
        'K-22' as indicator,
        region_id,
        area,
        period,
        cast(null as decimal(28, 6)) as stated_value,
        energy_kwh as numerator,
        cast(peak_kw * complete_intervals / 4 as decimal(38, 6)) as denominator,
        case
            when missing_reason is not null then missing_reason
            when complete_intervals = 0 then 'incomplete: no quarter hour with a value of every metering point'
            when peak_kw = 0 then 'denominator_zero'
        end as missing_reason,
        estimates,
        substitutes,
        received,
        stale_since
    from loads
    {% for indicator, quantity in [('K-22-peak', 'peak_kw'), ('K-22-base', 'base_kw')] %}
    union all
    select
        '{{ indicator }}' as indicator,
        region_id,
        area,
        period,
        cast(round({{ quantity }}, 6) as decimal(28, 6)) as stated_value,
        cast(null as decimal(38, 6)) as numerator,
        cast(complete_intervals as decimal(38, 6)) as denominator,
        case
            when missing_reason is not null then missing_reason
            when complete_intervals = 0 then 'incomplete: no quarter hour with a value of every metering point'
        end as missing_reason,
        estimates,
        substitutes,
        received,
        stale_since
    from loads
    {% endfor %}
    union all
    select
        'K-23' as indicator,
        region_id,
        area,
        period,
        cast(null as decimal(28, 6)) as stated_value,
        cast(received as decimal(38, 6)) as numerator,
        cast(quarter_hours as decimal(38, 6)) as denominator,
        missing_reason,
        estimates,
        substitutes,
        received,
        stale_since
    from loads
    union all
    select
        'K-24' as indicator,
        region_id,
        area,
        period,
        cast(null as decimal(28, 6)) as stated_value,
        cast(substitutes + estimates as decimal(38, 6)) as numerator,
        cast(received as decimal(38, 6)) as denominator,
        missing_reason,
        estimates,
        substitutes,
        received,
        stale_since
    from loads
)

select
    indicator,
    region_id,
    area,
    false as is_rolled_up,
    period,
    case when missing_reason is null then stated_value end as stated_value,
    case when missing_reason is null then numerator end as numerator,
    case when missing_reason is null or indicator = 'K-23' then denominator end as denominator,
    missing_reason,
    false as is_declared_empty,
    cast(estimates as decimal(38, 6)) as estimated,
    cast(substitutes as decimal(38, 6)) as substituted,
    cast(received as decimal(38, 6)) as share_base,
    stale_since
from parts
