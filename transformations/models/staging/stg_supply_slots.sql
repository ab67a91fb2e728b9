select
    supplier_id,
    dataset,
    period,
    cast(period_start_date as date) as period_start_date,
    cast(period_end_date as date) as period_end_date,
    cast(due_on as date) as due_on,
    state,
    cast(attempts as int) as attempts,
    first_state,
    received_at,
    judged_at,
    first_received_at,
    first_accepted_at,
    served_delivery_id,
    cast(served_attempt as int) as served_attempt,
    stale_since,
    coalesce(is_owed, true) as is_owed
from {{ source('accepted', 'supply_slots') }}
