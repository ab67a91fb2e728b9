with

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
        slots.is_owed,
        coalesce(slots.state = 'nothing_to_report' or served.state = 'nothing_to_report', false) as is_declared_empty
    from {{ ref('stg_supply_slots') }} as slots
    inner join {{ ref('stg_region_mandates') }} as mandates
        on
            slots.supplier_id = mandates.supplier_id
            and slots.dataset = mandates.dataset
            and slots.period_end_date > mandates.valid_from_date
            and slots.period_start_date < mandates.valid_until_date
    inner join {{ ref('stg_region_areas') }} as areas
        on left(areas.area_code, length(mandates.area_prefix)) = mandates.area_prefix
    left join {{ ref('stg_supply_deliveries') }} as served
        on slots.served_delivery_id = served.delivery_id
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
    is_owed,
    is_declared_empty,
    served_delivery_id is not null and not is_declared_empty as is_served,
    case
        when is_declared_empty then 'nothing_to_report'
        when served_delivery_id is not null then null
        when state = 'missing' then 'no_delivery'
        when state in ('received', 'judging') then 'not_judged'
        else state
    end as missing_reason
from owed
-- what nobody owes and nobody was served says nothing about an area
where
    is_owed
    or is_declared_empty
    or served_delivery_id is not null
