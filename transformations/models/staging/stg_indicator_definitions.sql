select
    indicator,
    definition_version,
    name_de,
    name_en,
    unit,
    formula,
    source as definition_source,
    comparability
from {{ ref('indicator_definitions') }}
