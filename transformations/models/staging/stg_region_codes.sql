select
    list_id,
    code,
    name_de,
    name_en,
    cast(valid_from_date as date) as valid_from_date,
    cast(valid_to_date as date) as valid_to_date
from {{ source('accepted', 'region_codes') }}
