select
    figures.indicator,
    definitions.definition_version,
    figures.area,
    figures.period,
    figures.indicator_value as value,
    definitions.unit,
    figures.numerator,
    figures.denominator,
    figures.missing_reason,
    cast(figures.estimated_share as decimal(9, 6)) as estimated_share,
    cast(figures.substituted_share as decimal(9, 6)) as substituted_share,
    figures.stale_since
from {{ ref('int_indicators_assembled') }} as figures
left join {{ ref('stg_indicator_definitions') }} as definitions
    on figures.indicator = definitions.indicator
