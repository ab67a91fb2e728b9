{{ config(materialized='table') }}

-- One row per plant of the region and month in which treatment is owed or there; tonnes.
with

months as (
    select distinct period from {{ ref('stg_supply_slots') }}
    where dataset = 'green_waste_treatment'
    union
    select distinct {{ month_text('month_date') }} as period from {{ ref('int_green_waste_treatment_located') }}
),

plants as (
    select distinct
        areas.region_id,
        sites.area_code,
        sites.site_id as plant_id,
        months.period
    from {{ ref('stg_region_sites') }} as sites
    inner join {{ ref('stg_region_areas') }} as areas
        on sites.area_code = areas.area_code
    inner join months
        on
            sites.valid_from_date <= last_day(cast(months.period || '-01' as date))
            and sites.valid_to_date >= cast(months.period || '-01' as date)
    where sites.site_kind = 'plant'
),

balances as (
    select
        plant_id,
        {{ month_text('month_date') }} as period,
        {{ total("case when flow_code = 'input' then quantity_t end") }} as input_t,
        {{ total("case when flow_code <> 'input' then quantity_t end") }} as other_t,
        {{ list_text("case when quantity_t is null then flow_code end") }} as not_stated,
        min(stale_since) as stale_since
    from {{ ref('int_green_waste_treatment_located') }}
    group by plant_id, {{ month_text('month_date') }}
),

-- who runs a plant is not in the region pack: a plant without rows is explained by the gravest gap of the month
supply as (
    select
        period,
        min(missing_reason) as any_reason,
        max(case missing_reason
            when 'rejected' then 5 when 'overdue' then 4 when 'withdrawn' then 3
            when 'not_judged' then 2 when 'no_delivery' then 1 else 0
        end) as gravity,
        {{ count_where('missing_reason is null') }} as areas_served
    from {{ ref('int_supply_by_area') }}
    where dataset = 'green_waste_treatment'
    group by period
)

select
    plants.region_id,
    plants.area_code,
    plants.plant_id,
    plants.period,
    balances.input_t,
    abs(balances.input_t - coalesce(balances.other_t, 0)) as gap_t,
    balances.stale_since,
    case
        when balances.plant_id is not null and balances.not_stated is not null
            then 'not_stated: ' || balances.not_stated
        when balances.input_t is not null and balances.other_t is not null then null
        when balances.plant_id is not null then 'not_stated'
        when supply.period is null then 'not_owed'
        when supply.gravity = 5 then 'rejected'
        when supply.gravity = 4 then 'overdue'
        when supply.gravity = 3 then 'withdrawn'
        when supply.gravity = 2 then 'not_judged'
        when supply.gravity = 1 then 'no_delivery'
        when supply.areas_served > 0 then 'not_stated'
        else supply.any_reason
    end as missing_reason
from plants
left join balances
    on
        plants.plant_id = balances.plant_id
        and plants.period = balances.period
left join supply
    on plants.period = supply.period
