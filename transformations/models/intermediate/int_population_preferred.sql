with

ranked as (
    {{ one_supplier_per(
        ref('stg_population'),
        dataset='population',
        keys=['area_code', 'key_date'],
        area='delivered.area_code',
        day='delivered.key_date',
    ) }}
)

select
    ranked.area_code,
    ranked.key_date,
    ranked.population,
    ranked.population_male,
    ranked.area_ha,
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
        and slots.dataset = 'population'
where ranked.supplier_preference = 1
