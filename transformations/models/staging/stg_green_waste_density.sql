select
    fraction_code,
    cast(density_t_per_m3 as decimal(9, 6)) as density_t_per_m3,
    cast(valid_from_date as date) as valid_from_date,
    cast(valid_until_date as date) as valid_until_date,
    cast(is_assumption as boolean) as is_assumption,
    source as density_source
from {{ ref('green_waste_density') }}
