with

-- an optional slot that was never served says nothing about an area
owed as (
    select distinct
        areas.region_id,
        areas.area_code,
        slots.supplier_id,
        slots.dataset,
        slots.period,
        slots.period_start_date,
        slots.period_end_date,
        slots.due_on,
        slots.state,
        slots.attempts,
        slots.first_state,
        slots.first_received_at,
        slots.first_accepted_at,
        slots.received_at,
        slots.judged_at,
        slots.stale_since,
        slots.served_delivery_id,
        served.number_of_rows as served_rows,
        mandates.is_optional
    from {{ ref('stg_supply_slots') }} as slots
    inner join {{ ref('stg_region_mandates') }} as mandates
        on
            slots.supplier_id = mandates.supplier_id
            and slots.dataset = mandates.dataset
            and mandates.valid_from_date < slots.period_end_date
            and mandates.valid_until_date > slots.period_start_date
    inner join {{ ref('stg_region_areas') }} as areas
        on left(areas.area_code, length(mandates.area_prefix)) = mandates.area_prefix
    left join {{ ref('stg_served_slots') }} as served
        on
            slots.supplier_id = served.supplier_id
            and slots.dataset = served.dataset
            and slots.period = served.period
)

select
    region_id,
    area_code,
    supplier_id,
    dataset,
    period,
    period_start_date,
    period_end_date,
    due_on,
    state,
    attempts,
    first_state,
    first_received_at,
    first_accepted_at,
    received_at,
    judged_at,
    stale_since,
    state = 'nothing_to_report' or (served_delivery_id is not null and coalesce(served_rows, 0) = 0)
        as is_declared_empty,
    served_delivery_id is not null and state <> 'nothing_to_report' and coalesce(served_rows, 0) > 0 as is_served,
    case
        when state = 'nothing_to_report' then 'nothing_to_report'
        when served_delivery_id is not null and coalesce(served_rows, 0) = 0 then 'nothing_to_report'
        when served_delivery_id is not null then null
        when state = 'missing' then 'no_delivery'
        when state in ('received', 'judging') then 'not_judged'
        else state
    end as missing_reason
from owed
where
    not is_optional
    or served_delivery_id is not null
    or state = 'nothing_to_report'
