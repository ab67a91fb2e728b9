-- Readings with municipality and local day, from one supplier per metering point, register and day: the one with the
-- mandate, else the one accepted last. Chosen per day and not per row, because rows are many and days are few.
with

readings as (
    select
        metering_point_id,
        obis_code,
        interval_start_at,
        cast({{ local_time('interval_start_at') }} as date) as local_date,
        energy_kwh,
        status_code,
        supplier_id,
        period,
        delivery_id,
        attempt,
        delivered_line,
        delivered_sheet,
        row_warnings
    from {{ ref('stg_load_profile') }}
),

suppliers_of_days as (
    select
        metering_point_id,
        obis_code,
        local_date,
        supplier_id,
        period,
        min(delivered_line) as delivered_line
    from readings
    group by metering_point_id, obis_code, local_date, supplier_id, period
),

located as (
    select
        days.metering_point_id,
        days.obis_code,
        days.local_date,
        days.supplier_id,
        days.period,
        days.delivered_line,
        sites.area_code
    from suppliers_of_days as days
    left join {{ ref('stg_region_sites') }} as sites
        on
            days.metering_point_id = sites.site_id
            and days.local_date >= sites.valid_from_date
            and days.local_date <= sites.valid_to_date
),

ranked as (
    {{ one_supplier_per(
        'located',
        dataset='load_profile',
        keys=['metering_point_id', 'obis_code', 'local_date'],
        area='delivered.area_code',
        day='delivered.local_date',
    ) }}
)

select
    readings.metering_point_id,
    readings.obis_code,
    ranked.area_code,
    readings.interval_start_at,
    readings.local_date,
    readings.energy_kwh,
    readings.status_code,
    readings.status_code not in ('20', 'Z30') as is_usable,
    readings.status_code = '67' as is_substitute,
    readings.status_code = 'Z18' as is_estimated,
    coalesce(suppliers.is_synthetic, false) as is_synthetic,
    slots.stale_since,
    readings.supplier_id,
    readings.period,
    readings.delivery_id,
    readings.attempt,
    readings.delivered_line,
    readings.delivered_sheet,
    readings.row_warnings
from readings
inner join ranked
    on
        readings.metering_point_id = ranked.metering_point_id
        and readings.obis_code = ranked.obis_code
        and readings.local_date = ranked.local_date
        and readings.supplier_id = ranked.supplier_id
        and readings.period = ranked.period
        and ranked.supplier_preference = 1
left join {{ ref('stg_region_suppliers') }} as suppliers
    on readings.supplier_id = suppliers.supplier_id
left join {{ ref('stg_supply_slots') }} as slots
    on
        readings.supplier_id = slots.supplier_id
        and readings.period = slots.period
        and slots.dataset = 'load_profile'
