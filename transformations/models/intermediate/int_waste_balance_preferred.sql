with

ranked as (
    {{ one_supplier_per(
        ref('stg_waste_balance'),
        dataset='waste_balance',
        keys=['area_code', 'year', 'waste_code', 'flow_code', 'collection_code', 'treatment_code'],
        area='delivered.area_code',
        day="cast(cast(delivered.year as string) || '-12-31' as date)",
    ) }}
)

select
    area_code,
    year,
    waste_code,
    flow_code,
    collection_code,
    treatment_code,
    quantity_t,
    supplier_id,
    period,
    delivery_id,
    attempt,
    delivered_line,
    delivered_sheet,
    row_warnings
from ranked
where supplier_preference = 1
