select
    objection_id,
    supplier_id,
    delivery_id,
    rule_id,
    figure,
    state = 'contested' as is_open,
    decision,
    opened_at,
    due_at,
    decided_at
from {{ ref('stg_supply_objections') }}
