select
    cast(thread_id as bigint) as objection_id,
    supplier_id,
    delivery_id,
    rule as rule_id,
    figure,
    state,
    decision,
    opened_at,
    due_at,
    decided_at
from {{ source('accepted', 'supply_objections') }}
