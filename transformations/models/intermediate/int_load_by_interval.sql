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

-- the same readings once for their municipality and once for the region
by_area as (
    select
        areas.region_id,
        points.area_code as area,
        points.metering_point_id,
        points.interval_start_at,
        points.local_date,
        points.energy_kwh,
        points.substitutes,
        points.estimates,
        points.stale_since
    from points
    inner join {{ ref('stg_region_areas') }} as areas
        on points.area_code = areas.area_code
    union all
    select
        areas.region_id,
        areas.region_id as area,
        points.metering_point_id,
        points.interval_start_at,
        points.local_date,
        points.energy_kwh,
        points.substitutes,
        points.estimates,
        points.stale_since
    from points
    inner join {{ ref('stg_region_areas') }} as areas
        on points.area_code = areas.area_code
)

select
    region_id,
    area,
    {{ month_text('local_date') }} as period,
    interval_start_at,
    cast(count(*) as bigint) as points,
    {{ total('energy_kwh') }} as energy_kwh,
    cast(sum(substitutes) as bigint) as substitutes,
    cast(sum(estimates) as bigint) as estimates,
    min(stale_since) as stale_since
from by_area
group by region_id, area, {{ month_text('local_date') }}, interval_start_at
