select
    region_id,
    area_code,
    area_name,
    land as land_code,
    nuts as nuts_code
from {{ source('accepted', 'region_areas') }}
