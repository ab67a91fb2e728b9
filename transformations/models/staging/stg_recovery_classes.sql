select
    operation_code,
    recovery_class
from {{ ref('recovery_classes') }}
