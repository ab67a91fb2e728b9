-- What anybody may see of the indicators. A gap says that there is no value, and not whose turn it is.
with

invented as (
    select
        slots.area_code,
        slots.region_id,
        slots.dataset,
        slots.period,
        coalesce(suppliers.is_synthetic, false) as is_synthetic
    from {{ ref('int_slots_by_area') }} as slots
    left join {{ ref('stg_region_suppliers') }} as suppliers
        on slots.supplier_id = suppliers.supplier_id
    where slots.is_served
),

open_figures as (
    select
        figures.indicator,
        definitions.definition_version,
        definitions.name_de,
        definitions.name_en,
        definitions.made_of,
        figures.area,
        figures.period,
        figures.value,
        figures.unit,
        case
            when figures.missing_reason is null then null
            when figures.missing_reason = 'nothing_to_report' then 'nothing_to_report'
            when figures.missing_reason in ('denominator_zero', 'not_owed') then 'not_applicable'
            when left(figures.missing_reason, 10) = 'incomplete' then 'incomplete'
            else 'not_available'
        end as gap,
        figures.substituted_share,
        figures.estimated_share,
        coalesce(figures.stale_since is not null, false) as is_being_corrected
    from {{ ref('indicators') }} as figures
    inner join {{ ref('stg_indicator_definitions') }} as definitions
        on figures.indicator = definitions.indicator
    where definitions.access_level = 'open'
),

synthetic_figures as (
    select
        figures.indicator,
        figures.area,
        figures.period
    from open_figures as figures
    inner join invented
        on
            (figures.area = invented.area_code or figures.area = invented.region_id)
            and figures.period = invented.period
            and ',' || figures.made_of || ',' like '%,' || invented.dataset || ',%'
    where invented.is_synthetic
    group by figures.indicator, figures.area, figures.period
)

select
    open_figures.indicator,
    open_figures.definition_version,
    open_figures.name_de,
    open_figures.name_en,
    open_figures.area,
    areas.area_name,
    areas.area_code is null as is_region,
    open_figures.period,
    open_figures.value,
    open_figures.unit,
    open_figures.gap,
    open_figures.substituted_share,
    open_figures.estimated_share,
    open_figures.is_being_corrected,
    synthetic_figures.indicator is not null as is_synthetic
from open_figures
left join {{ ref('stg_region_areas') }} as areas
    on open_figures.area = areas.area_code
left join synthetic_figures
    on
        open_figures.indicator = synthetic_figures.indicator
        and open_figures.area = synthetic_figures.area
        and open_figures.period = synthetic_figures.period
