select
    indicator,
    definition_version,
    name_de,
    name_en,
    unit,
    formula_de,
    formula,
    source as definition_source,
    comparability,
    made_of,
    access_level
from {{ ref('indicator_definitions') }}
