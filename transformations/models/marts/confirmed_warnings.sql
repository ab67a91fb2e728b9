select
    delivery_id,
    rule_id,
    supplier_id,
    dataset,
    period,
    number_of_rows,
    reason,
    confirmed_at
from {{ ref('stg_supply_confirmations') }}
