select
    area_code,
    association_code,
    area_name,
    type_code,
    postcode,
    as_of_date,
    is_synthetic,
    stale_since,
    supplier_id,
    period,
    delivery_id,
    attempt,
    delivered_line,
    delivered_sheet,
    row_warnings
from {{ ref('int_municipality_register_preferred') }}
