select
    supplier_id,
    dataset,
    coalesce(area_prefix, '') as area_prefix,
    cast(valid_from_date as date) as valid_from_date,
    cast(coalesce(valid_until_date, cast('9999-12-31' as date)) as date) as valid_until_date,
    coalesce(is_optional, false) as is_optional
from {{ source('accepted', 'region_mandates') }}
