{{ config(materialized='table') }}

-- Numerators and denominators of K-11 and K-12. One row per indicator, municipality and month.
with

utilisation as (
    select
        region_id,
        area_code,
        period,
        treated_t,
        taken_in_t,
        estimated_t,
        stale_since,
        is_intake_declared_empty
        and (is_treatment_declared_empty or (treatment_missing_reason is null and treated_t is null))
            as is_declared_empty,
        case
            when intake_missing_reason is not null then intake_missing_reason
            when taken_in_not_stated is not null then 'not_stated: ' || taken_in_not_stated
            when taken_in_t is null then 'not_stated'
            when treatment_missing_reason is not null then 'treatment_' || treatment_missing_reason
            when treated_not_stated is not null then 'treatment_not_stated: ' || treated_not_stated
            when treated_t is null then 'treatment_not_stated'
            when taken_in_t = 0 then 'denominator_zero'
        end as missing_reason
    from {{ ref('int_green_waste_by_area') }}
),

closure as (
    select
        region_id,
        area_code,
        period,
        {{ total('gap_t') }} as gap_t,
        {{ total('input_t') }} as input_t,
        min(stale_since) as stale_since,
        {{ count_where("missing_reason is null or missing_reason <> 'nothing_to_report'") }} = 0 as is_declared_empty,
        -- any plant without a balance leaves the area without one
        min(missing_reason) as missing_reason
    from {{ ref('int_plant_balances') }}
    group by region_id, area_code, period
),

parts as (
    select
        'K-11' as indicator,
        region_id,
        area_code,
        period,
        treated_t as numerator,
        taken_in_t as denominator,
        missing_reason,
        is_declared_empty,
        estimated_t as estimated,
        taken_in_t as share_base,
        stale_since
    from utilisation
    union all
    select
        'K-12' as indicator,
        region_id,
        area_code,
        period,
        gap_t as numerator,
        input_t as denominator,
        case when missing_reason is null and input_t = 0 then 'denominator_zero' else missing_reason end
            as missing_reason,
        is_declared_empty,
        cast(null as decimal(38, 6)) as estimated,
        cast(null as decimal(38, 6)) as share_base,
        stale_since
    from closure
)

select
    indicator,
    region_id,
    area_code as area,
    true as is_rolled_up,
    period,
    cast(null as decimal(28, 6)) as stated_value,
    case when missing_reason is null then numerator end as numerator,
    case when missing_reason is null then denominator end as denominator,
    missing_reason,
    is_declared_empty,
    cast(estimated as decimal(38, 6)) as estimated,
    cast(null as decimal(38, 6)) as substituted,
    cast(share_base as decimal(38, 6)) as share_base,
    stale_since
from parts
