select
    area_code,
    cast(key_date as date) as key_date,
    cast(population as bigint) as population,
    cast(population_male as bigint) as population_male,
    cast(area_ha as decimal(18, 6)) as area_ha,
    supplier_id,
    period,
    delivery_id,
    cast(attempt as int) as attempt,
    cast(delivered_line as bigint) as delivered_line,
    delivered_sheet,
    row_warnings
from {{ source('accepted', 'population') }}
