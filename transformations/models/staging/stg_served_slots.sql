select
    supplier_id,
    dataset,
    period,
    cast(attempt as int) as attempt,
    delivery_id,
    cast(rows as bigint) as number_of_rows,
    accepted_at
from {{ source('accepted', 'served_slots') }}
