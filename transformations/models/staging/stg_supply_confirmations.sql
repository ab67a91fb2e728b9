select
    delivery_id,
    supplier_id,
    dataset,
    period,
    rule as rule_id,
    cast(rows as bigint) as number_of_rows,
    reason,
    confirmed_at
from {{ source('accepted', 'supply_confirmations') }}
