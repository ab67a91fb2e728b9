select
    plant_id,
    cast(month_date as date) as month_date,
    flow_code,
    source_area_code,
    product_code,
    treatment_code,
    cast(quantity_t as decimal(18, 6)) as quantity_t,
    supplier_id,
    period,
    delivery_id,
    cast(attempt as int) as attempt,
    cast(delivered_line as bigint) as delivered_line,
    delivered_sheet,
    row_warnings
from {{ source('accepted', 'green_waste_treatment') }}
