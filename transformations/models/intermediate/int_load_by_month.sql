{{ config(materialized='table') }}

-- One row per area (municipality, and region) with metering points and month in which load profiles are owed or there.
-- Load figures use the quarter hours in which every metering point has a value, because a sum with a gap in it is no
-- load.
with

months as (
    select distinct period from {{ ref('stg_supply_slots') }}
    where dataset = 'load_profile'
    union
    select distinct period from {{ ref('int_load_by_interval') }}
),

point_days as (
    select
        areas.region_id,
        sites.area_code,
        sites.site_id,
        months.period,
        {{ days("cast(months.period || '-01' as date)", "last_day(cast(months.period || '-01' as date))") }} as day,
        sites.valid_from_date,
        sites.valid_to_date
    from {{ ref('stg_region_sites') }} as sites
    inner join {{ ref('stg_region_areas') }} as areas
        on sites.area_code = areas.area_code
    cross join months
    where
        sites.site_kind = 'metering_point'
        and length(months.period) = 7
),

expected_of_points as (
    select
        region_id,
        area_code,
        site_id,
        period,
        cast(sum({{ quarter_hours_of_day('day') }}) as bigint) as quarter_hours
    from point_days
    where
        day >= valid_from_date
        and day <= valid_to_date
    group by region_id, area_code, site_id, period
),

expected as (
    select
        region_id,
        area_code as area,
        period,
        cast(count(distinct site_id) as bigint) as points,
        cast(sum(quarter_hours) as bigint) as quarter_hours
    from expected_of_points
    group by region_id, area_code, period
    union all
    select
        region_id,
        region_id as area,
        period,
        cast(count(distinct site_id) as bigint) as points,
        cast(sum(quarter_hours) as bigint) as quarter_hours
    from expected_of_points
    group by region_id, period
),

measured as (
    select
        expected.area,
        expected.period,
        cast(sum(intervals.points) as bigint) as received,
        {{ count_where('intervals.points >= expected.points') }} as complete_intervals,
        -- a quarter hour's energy times four is its mean power
        max(case when intervals.points >= expected.points then intervals.energy_kwh end) * 4 as peak_kw,
        percentile_cont(0.05) within group (
            order by case when intervals.points >= expected.points then cast(intervals.energy_kwh as double) end
        ) * 4 as base_kw,
        {{ total('case when intervals.points >= expected.points then intervals.energy_kwh end') }} as energy_kwh,
        cast(sum(intervals.substitutes) as bigint) as substitutes,
        cast(sum(intervals.estimates) as bigint) as estimates,
        min(intervals.stale_since) as stale_since
    from expected
    inner join {{ ref('int_load_by_interval') }} as intervals
        on
            expected.area = intervals.area
            and expected.period = intervals.period
    group by expected.area, expected.period
),

supply as (
    select
        areas.region_id,
        areas.area_code as area,
        months.period,
        case when supply.area_code is null then 'not_owed' else supply.missing_reason end as missing_reason
    from {{ ref('stg_region_areas') }} as areas
    cross join months
    left join {{ ref('int_supply_by_area') }} as supply
        on
            areas.area_code = supply.area_code
            and months.period = supply.period
            and supply.dataset = 'load_profile'
),

-- areas without a metering point owe nothing to the region's load
of_region as (
    select
        supply.region_id as area,
        supply.period,
        {{ list_text("case when supply.missing_reason is not null then supply.area end") }} as incomplete_areas
    from supply
    inner join expected
        on
            supply.area = expected.area
            and supply.period = expected.period
    group by supply.region_id, supply.period
)

select
    expected.region_id,
    expected.area,
    expected.area = expected.region_id as is_region,
    expected.period,
    expected.points,
    expected.quarter_hours,
    measured.received,
    coalesce(measured.complete_intervals, 0) as complete_intervals,
    measured.peak_kw,
    measured.base_kw,
    measured.energy_kwh,
    coalesce(measured.substitutes, 0) as substitutes,
    coalesce(measured.estimates, 0) as estimates,
    measured.stale_since,
    case
        when of_region.incomplete_areas is not null then 'incomplete: ' || of_region.incomplete_areas
        -- rows without a slot are rows all the same
        when supply.missing_reason = 'not_owed' and measured.area is not null then null
        else supply.missing_reason
    end as supply_missing_reason
from expected
left join measured
    on
        expected.area = measured.area
        and expected.period = measured.period
left join supply
    on
        expected.area = supply.area
        and expected.period = supply.period
left join of_region
    on
        expected.area = of_region.area
        and expected.period = of_region.period
