with

ranked as (
    {{ one_supplier_per(
        ref('stg_municipality_register'),
        dataset='municipality_register',
        keys=['area_code', 'as_of_date'],
        area='delivered.area_code',
        day='delivered.as_of_date',
    ) }}
)

select
    ranked.area_code,
    ranked.association_code,
    ranked.area_name,
    ranked.type_code,
    ranked.postcode,
    ranked.as_of_date,
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
        and slots.dataset = 'municipality_register'
where ranked.supplier_preference = 1
