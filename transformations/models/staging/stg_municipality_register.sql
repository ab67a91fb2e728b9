select
    area_code,
    association_code,
    area_name,
    type_code,
    postcode,
    cast(as_of_date as date) as as_of_date,
    supplier_id,
    period,
    delivery_id,
    cast(attempt as int) as attempt,
    cast(delivered_line as bigint) as delivered_line,
    delivered_sheet,
    row_warnings
from {{ source('accepted', 'municipality_register') }}
