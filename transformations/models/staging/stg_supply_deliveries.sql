select
    delivery_id,
    supplier_id,
    dataset,
    period,
    cast(attempt as int) as attempt,
    state,
    first_verdict,
    file_name,
    sha256,
    received_at,
    judged_at,
    cast(delivered as bigint) as rows_delivered,
    cast(accepted as bigint) as rows_accepted,
    cast(accepted_with_warning as bigint) as rows_accepted_with_warning,
    cast(quarantined as bigint) as rows_quarantined,
    cast(ignored_by_rule as bigint) as rows_ignored_by_rule
from {{ source('accepted', 'supply_deliveries') }}
