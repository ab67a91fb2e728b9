with

owed as (
    select
        supplier_id,
        {{ list_text('dataset') }} as datasets
    from {{ ref('stg_region_mandates') }}
    group by supplier_id
)

select
    suppliers.supplier_id,
    suppliers.supplier_name,
    suppliers.supplier_role,
    suppliers.area_code,
    suppliers.is_synthetic,
    owed.datasets
from {{ ref('stg_region_suppliers') }} as suppliers
left join owed
    on suppliers.supplier_id = owed.supplier_id
