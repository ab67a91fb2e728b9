{{ config(materialized='table') }}

-- Power drawn by all metering points of an area at the same time. One row per area (municipality, and region) and
-- quarter hour; only registers that count electricity drawn (OBIS 1-x:1.…), a point counted once.
with

points as (
    select
        metering_point_id,
        area_code,
        interval_start_at,
        local_date,
        max(energy_kwh) as energy_kwh,
        max(case when is_substitute then 1 else 0 end) as substitutes,
        max(case when is_estimated then 1 else 0 end) as estimates,
        min(stale_since) as stale_since
    from {{ ref('int_load_profile_located') }}
    where
        is_usable
        and area_code is not null
        and left(obis_code, 2) = '1-'
        and left(split_part(obis_code, ':', 2), 2) = '1.'
    group by metering_point_id, area_code, interval_start_at, local_date
),

of_municipalities as (
    select
        areas.region_id,
        areas.area_code,
        {{ month_text('points.local_date') }} as period,
        points.interval_start_at,
        cast(count(*) as bigint) as points,
        {{ total('points.energy_kwh') }} as energy_kwh,
        cast(sum(points.substitutes) as bigint) as substitutes,
        cast(sum(points.estimates) as bigint) as estimates,
        min(points.stale_since) as stale_since
    from points
    inner join {{ ref('stg_region_areas') }} as areas
        on points.area_code = areas.area_code
    group by areas.region_id, areas.area_code, {{ month_text('points.local_date') }}, points.interval_start_at
)

select
    region_id,
    area_code as area,
    period,
    interval_start_at,
    points,
    energy_kwh,
    substitutes,
    estimates,
    stale_since
from of_municipalities
union all
select
    region_id,
    region_id as area,
    period,
    interval_start_at,
    cast(sum(points) as bigint) as points,
    {{ total('energy_kwh') }} as energy_kwh,
    cast(sum(substitutes) as bigint) as substitutes,
    cast(sum(estimates) as bigint) as estimates,
    min(stale_since) as stale_since
from of_municipalities
group by region_id, period, interval_start_at
