select
    delivery_id,
    rule as rule_id,
    severity,
    cast(rows as bigint) as number_of_rows
from {{ source('accepted', 'supply_findings') }}
