select
    area_code,
    cast(year as int) as year,
    waste_code,
    flow_code,
    collection_code,
    treatment_code,
    cast(quantity_t as decimal(18, 6)) as quantity_t,
    supplier_id,
    period,
    delivery_id,
    cast(attempt as int) as attempt,
    cast(delivered_line as bigint) as delivered_line,
    delivered_sheet,
    row_warnings
from {{ source('accepted', 'waste_balance') }}
