select
    site_id,
    area_code,
    cast(intake_date as date) as intake_date,
    fraction_code,
    cast(quantity as decimal(18, 6)) as quantity,
    unit_code,
    cast(is_estimated as boolean) as is_estimated,
    supplier_id,
    period,
    delivery_id,
    cast(attempt as int) as attempt,
    cast(delivered_line as bigint) as delivered_line,
    delivered_sheet,
    row_warnings
from {{ source('accepted', 'green_waste_intake') }}
