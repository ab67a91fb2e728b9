with

-- an output belongs to the plant as a whole, so a mandate for any municipality will do there
ranked as (
    {{ one_supplier_per(
        ref('stg_green_waste_treatment'),
        dataset='green_waste_treatment',
        keys=['plant_id', 'month_date', 'flow_code', 'source_area_code', 'product_code', 'treatment_code'],
        area="coalesce(delivered.source_area_code, mandates.area_prefix)",
        day='last_day(delivered.month_date)',
    ) }}
)

select
    ranked.plant_id,
    plants.area_code as plant_area_code,
    areas.area_code is not null as is_plant_in_region,
    ranked.month_date,
    ranked.flow_code,
    ranked.source_area_code,
    ranked.product_code,
    ranked.treatment_code,
    coalesce(operations.recovery_class, 'not_stated') as recovery_class,
    ranked.quantity_t,
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
left join {{ ref('stg_region_sites') }} as plants
    on
        ranked.plant_id = plants.site_id
        and last_day(ranked.month_date) >= plants.valid_from_date
        and ranked.month_date <= plants.valid_to_date
left join {{ ref('stg_region_areas') }} as areas
    on plants.area_code = areas.area_code
left join {{ ref('stg_recovery_classes') }} as operations
    on ranked.treatment_code = operations.operation_code
left join {{ ref('stg_region_suppliers') }} as suppliers
    on ranked.supplier_id = suppliers.supplier_id
left join {{ ref('stg_supply_slots') }} as slots
    on
        ranked.supplier_id = slots.supplier_id
        and ranked.period = slots.period
        and slots.dataset = 'green_waste_treatment'
where ranked.supplier_preference = 1
