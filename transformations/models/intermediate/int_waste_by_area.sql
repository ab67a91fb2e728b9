{{ config(materialized='table') }}

-- One row per municipality of the region and year in which a waste balance is owed or there. Sums are in tonnes and
-- null where a quantity that belongs to them was not stated; `not_stated` columns name the waste codes.
with

years as (
    select distinct period from {{ ref('stg_supply_slots') }}
    where dataset = 'waste_balance'
    union
    select distinct cast(year as string) as period from {{ ref('int_waste_balance_classified') }}
),

summed as (
    select
        area_code,
        cast(year as string) as period,
        {{ total("case when flow_code = 'generated' and is_municipal then quantity_t end") }} as municipal_t,
        {{ total("case when flow_code = 'generated' and waste_class = 'residual' then quantity_t end") }} as residual_t,
        {{ total("case when flow_code = 'generated' and waste_class in ('bio', 'green') then quantity_t end") }}
            as bio_green_t,
        {{ total(
            "case when flow_code = 'treated' and is_municipal"
            ~ " then case when recovery_class in ('recycling', 'preparing_for_reuse')"
            ~ " then quantity_t else 0 * quantity_t end end"
        ) }} as recycled_t,
        {{ total(
            "case when flow_code = 'treated' and waste_class in ('bio', 'green')"
            ~ " then case when treatment_code = 'R3' then quantity_t else 0 * quantity_t end end"
        ) }} as bio_recycled_t,
        {{ list_text("case when flow_code = 'generated' and is_municipal and quantity_t is null then waste_code end") }}
            as municipal_not_stated,
        {{ list_text(
            "case when flow_code = 'generated' and waste_class = 'residual' and quantity_t is null"
            ~ " then waste_code end"
        ) }} as residual_not_stated,
        {{ list_text(
            "case when flow_code = 'generated' and waste_class in ('bio', 'green') and quantity_t is null"
            ~ " then waste_code end"
        ) }} as bio_green_not_stated,
        {{ list_text(
            "case when flow_code = 'treated' and is_municipal"
            ~ " and (quantity_t is null or (recovery_class = 'not_stated' and quantity_t > 0)) then waste_code end"
        ) }} as treatment_not_stated,
        {{ list_text(
            "case when flow_code = 'treated' and waste_class in ('bio', 'green')"
            ~ " and (quantity_t is null or (recovery_class = 'not_stated' and quantity_t > 0)) then waste_code end"
        ) }} as bio_treatment_not_stated,
        min(stale_since) as stale_since
    from {{ ref('int_waste_balance_classified') }}
    group by area_code, cast(year as string)
),

-- inhabitants at the key date of the year, else at the latest earlier one, which is marked
inhabitants as (
    select
        years.period,
        population.area_code,
        population.population,
        population.stale_since,
        {{ year_text('population.key_date') }} <> years.period as is_substitute,
        row_number() over (
            partition by years.period, population.area_code
            order by population.key_date desc
        ) as recency
    from years
    inner join {{ ref('int_population_preferred') }} as population
        on population.key_date <= cast(years.period || '-12-31' as date)
)

select
    areas.region_id,
    areas.area_code,
    years.period,
    summed.municipal_t,
    summed.residual_t,
    summed.bio_green_t,
    summed.recycled_t,
    summed.bio_recycled_t,
    summed.municipal_not_stated,
    summed.residual_not_stated,
    summed.bio_green_not_stated,
    summed.treatment_not_stated,
    summed.bio_treatment_not_stated,
    inhabitants.population,
    coalesce(inhabitants.is_substitute, false) as is_population_substitute,
    inhabitants.stale_since as population_stale_since,
    summed.stale_since,
    coalesce(supply.is_declared_empty, false) as is_declared_empty,
    case
        when supply.area_code is null and summed.area_code is null then 'not_owed'
        else supply.missing_reason
    end as supply_missing_reason
from {{ ref('stg_region_areas') }} as areas
cross join years
left join summed
    on
        areas.area_code = summed.area_code
        and years.period = summed.period
left join inhabitants
    on
        areas.area_code = inhabitants.area_code
        and years.period = inhabitants.period
        and inhabitants.recency = 1
left join {{ ref('int_supply_by_area') }} as supply
    on
        areas.area_code = supply.area_code
        and years.period = supply.period
        and supply.dataset = 'waste_balance'
