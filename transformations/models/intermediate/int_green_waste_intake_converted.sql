-- Tonnes with the factor they came from. A density applies to the days of its interval; a volume without a density
-- stays without tonnes.
with

densities as (
    select
        intake.supplier_id,
        intake.delivery_id,
        intake.delivered_line,
        intake.delivered_sheet,
        intake.site_id,
        intake.intake_date,
        intake.fraction_code,
        intake.unit_code,
        intake.area_code,
        intake.quantity,
        intake.is_estimated,
        intake.period,
        intake.attempt,
        intake.row_warnings,
        density.density_source,
        density.valid_from_date as density_valid_from_date,
        density.is_assumption,
        case intake.unit_code
            when 't' then cast(1 as decimal(9, 6))
            when 'kg' then cast(0.001 as decimal(9, 6))
            when 'm3' then density.density_t_per_m3
        end as conversion_factor
    from {{ ref('stg_green_waste_intake') }} as intake
    left join {{ ref('stg_green_waste_density') }} as density
        on
            intake.unit_code = 'm3'
            and intake.fraction_code = density.fraction_code
            and intake.intake_date >= density.valid_from_date
            and intake.intake_date < density.valid_until_date
)

select
    site_id,
    area_code,
    intake_date,
    fraction_code,
    cast(round(quantity * conversion_factor, 6) as decimal(18, 6)) as quantity_t,
    quantity as delivered_quantity,
    unit_code as delivered_unit_code,
    conversion_factor,
    case unit_code when 'm3' then density_source else 'definition of the unit' end as conversion_source,
    density_valid_from_date as conversion_valid_from_date,
    coalesce(is_assumption, false) as is_conversion_assumed,
    coalesce(is_estimated, false) or unit_code = 'm3' as is_estimated,
    supplier_id,
    period,
    delivery_id,
    attempt,
    delivered_line,
    delivered_sheet,
    row_warnings
from densities
