select
    code_prefix,
    cast(is_municipal as boolean) as is_municipal,
    waste_class
from {{ ref('waste_classes') }}
