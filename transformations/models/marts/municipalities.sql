with

newest as (
    select
        area_code,
        association_code,
        area_name,
        type_code,
        postcode,
        as_of_date,
        supplier_id,
        delivery_id,
        attempt,
        delivered_line,
        row_number() over (partition by area_code order by as_of_date desc) as recency
    from {{ ref('int_municipality_register_preferred') }}
),

of_today as (
    select * from newest
    where recency = 1
),

inhabitants as (
    select
        area_code,
        key_date,
        population,
        area_ha,
        row_number() over (partition by area_code order by key_date desc) as recency
    from {{ ref('int_population_preferred') }}
)

select
    coalesce(areas.area_code, newest.area_code) as area_code,
    coalesce(newest.area_name, areas.area_name) as area_name,
    areas.region_id,
    areas.area_code is not null as is_in_region,
    areas.land_code,
    areas.nuts_code,
    newest.association_code,
    newest.type_code,
    newest.postcode,
    newest.as_of_date,
    inhabitants.population,
    inhabitants.key_date as population_key_date,
    inhabitants.area_ha,
    newest.supplier_id,
    newest.delivery_id,
    newest.attempt,
    newest.delivered_line
from {{ ref('stg_region_areas') }} as areas
full outer join of_today as newest
    on areas.area_code = newest.area_code
left join inhabitants
    on
        coalesce(areas.area_code, newest.area_code) = inhabitants.area_code
        and inhabitants.recency = 1
