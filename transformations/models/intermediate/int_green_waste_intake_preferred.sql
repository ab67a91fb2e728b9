with

-- the supplier responsible on the day speaks for a site
responsible as (
    {{ one_supplier_per(
        ref('int_green_waste_intake_converted'),
        dataset='green_waste_intake',
        keys=['site_id', 'intake_date', 'fraction_code', 'delivered_unit_code'],
        area='delivered.area_code',
        day='delivered.intake_date',
    ) }}
),

-- a weighed quantity beats an estimate or a volume for the same site, day and fraction, and any of them beats a gap
ranked as (
    select
        *,
        row_number() over (
            partition by site_id, intake_date, fraction_code
            order by
                case when quantity_t is null then 1 else 0 end asc,
                case when is_estimated then 1 else 0 end asc,
                case delivered_unit_code when 'm3' then 1 else 0 end asc,
                case delivered_unit_code when 't' then 0 else 1 end asc,
                supplier_id asc nulls last,
                delivered_line asc nulls last
        ) as preference,
        cast(count(*) over (partition by site_id, intake_date, fraction_code) - 1 as bigint) as rows_set_aside
    from responsible
    where supplier_preference = 1
)

select
    ranked.site_id,
    ranked.area_code,
    ranked.intake_date,
    ranked.fraction_code,
    ranked.quantity_t,
    ranked.delivered_quantity,
    ranked.delivered_unit_code,
    ranked.conversion_factor,
    ranked.conversion_source,
    ranked.conversion_valid_from_date,
    ranked.is_conversion_assumed,
    ranked.is_estimated,
    ranked.rows_set_aside,
    coalesce(suppliers.is_synthetic, false) as is_synthetic,
    slots.stale_since,
    ranked.supplier_id,
    ranked.period,
    ranked.delivery_id,
    ranked.attempt,
    ranked.delivered_line,
    ranked.delivered_sheet,
    ranked.row_warnings
from ranked
left join {{ ref('stg_region_suppliers') }} as suppliers
    on ranked.supplier_id = suppliers.supplier_id
left join {{ ref('stg_supply_slots') }} as slots
    on
        ranked.supplier_id = slots.supplier_id
        and ranked.period = slots.period
        and slots.dataset = 'green_waste_intake'
where ranked.preference = 1
