{{ config(materialized='table') }}

-- One row per municipality of the region and month in which green waste is owed or there: tonnes taken in, and tonnes
-- that plants inside the region received from it. Sums are null where a quantity that belongs to them was not stated.
with

months as (
    select distinct period
    from {{ ref('stg_supply_slots') }}
    where dataset in ('green_waste_intake', 'green_waste_treatment')
    union
    select distinct {{ month_text('intake_date') }} as period from {{ ref('int_green_waste_intake_preferred') }}
    union
    select distinct {{ month_text('month_date') }} as period from {{ ref('int_green_waste_treatment_located') }}
),

taken_in as (
    select
        area_code,
        {{ month_text('intake_date') }} as period,
        {{ total('quantity_t') }} as quantity_t,
        {{ total('case when is_estimated then quantity_t else 0 * quantity_t end') }} as estimated_t,
        {{ list_text('case when quantity_t is null then site_id end') }} as not_stated,
        min(stale_since) as stale_since
    from {{ ref('int_green_waste_intake_preferred') }}
    group by area_code, {{ month_text('intake_date') }}
),

treated as (
    select
        source_area_code as area_code,
        {{ month_text('month_date') }} as period,
        {{ total('case when is_plant_in_region then quantity_t else 0 * quantity_t end') }} as quantity_t,
        {{ list_text('case when quantity_t is null then plant_id end') }} as not_stated,
        min(stale_since) as stale_since
    from {{ ref('int_green_waste_treatment_located') }}
    where flow_code = 'input'
    group by source_area_code, {{ month_text('month_date') }}
)

select
    areas.region_id,
    areas.area_code,
    months.period,
    taken_in.quantity_t as taken_in_t,
    taken_in.estimated_t,
    taken_in.not_stated as taken_in_not_stated,
    treated.quantity_t as treated_t,
    treated.not_stated as treated_not_stated,
    coalesce(intake_supply.is_declared_empty, false) as is_intake_declared_empty,
    coalesce(treatment_supply.is_declared_empty, false) as is_treatment_declared_empty,
    case
        when intake_supply.area_code is null and taken_in.area_code is null then 'not_owed'
        else intake_supply.missing_reason
    end as intake_missing_reason,
    case
        when treatment_supply.area_code is null and treated.area_code is null then 'not_owed'
        else treatment_supply.missing_reason
    end as treatment_missing_reason,
    case
        when treated.stale_since < taken_in.stale_since or taken_in.stale_since is null then treated.stale_since
        else taken_in.stale_since
    end as stale_since
from {{ ref('stg_region_areas') }} as areas
cross join months
left join taken_in
    on
        areas.area_code = taken_in.area_code
        and months.period = taken_in.period
left join treated
    on
        areas.area_code = treated.area_code
        and months.period = treated.period
left join {{ ref('int_supply_by_area') }} as intake_supply
    on
        areas.area_code = intake_supply.area_code
        and months.period = intake_supply.period
        and intake_supply.dataset = 'green_waste_intake'
left join {{ ref('int_supply_by_area') }} as treatment_supply
    on
        areas.area_code = treatment_supply.area_code
        and months.period = treatment_supply.period
        and treatment_supply.dataset = 'green_waste_treatment'
