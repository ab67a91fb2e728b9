select
    metering_point_id,
    obis_code,
    interval_start_at,
    cast(energy_kwh as decimal(18, 6)) as energy_kwh,
    status_code,
    supplier_id,
    period,
    delivery_id,
    cast(attempt as int) as attempt,
    cast(delivered_line as bigint) as delivered_line,
    delivered_sheet,
    row_warnings
from {{ source('accepted', 'load_profile') }}
