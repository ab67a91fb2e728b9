select
    area_code,
    key_date,
    population,
    population_male,
    area_ha,
    is_synthetic,
    stale_since,
    supplier_id,
    period,
    delivery_id,
    attempt,
    delivered_line,
    delivered_sheet,
    row_warnings
from {{ ref('int_population_preferred') }}
