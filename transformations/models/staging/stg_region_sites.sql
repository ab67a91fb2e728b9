select
    site_id,
    kind as site_kind,
    site_name,
    area_code,
    cast(valid_from_date as date) as valid_from_date,
    cast(valid_to_date as date) as valid_to_date
from {{ source('accepted', 'region_sites') }}
