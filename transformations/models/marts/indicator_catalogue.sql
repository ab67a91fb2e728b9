select
    indicator,
    definition_version,
    name_de,
    name_en,
    unit,
    formula_de,
    formula as formula_en,
    definition_source,
    comparability,
    made_of,
    access_level
from {{ ref('stg_indicator_definitions') }}
