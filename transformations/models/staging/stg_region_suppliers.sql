select
    supplier_id,
    supplier_name,
    role as supplier_role,
    area_code,
    coalesce(is_synthetic, false) as is_synthetic
from {{ source('accepted', 'region_suppliers') }}
