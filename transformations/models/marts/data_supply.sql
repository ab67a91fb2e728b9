select
    slots.supplier_id,
    slots.dataset,
    slots.period,
    slots.period_start_date,
    slots.period_end_date,
    slots.state,
    slots.attempts,
    slots.due_on,
    slots.first_received_at,
    slots.received_at,
    slots.judged_at,
    slots.first_accepted_at,
    slots.stale_since,
    slots.served_delivery_id,
    slots.served_attempt,
    served.number_of_rows as served_rows,
    case
        -- what was taken back is not there, however early it came
        when slots.state in ('overdue', 'withdrawn') then false
        when slots.first_accepted_at is not null
            then cast({{ local_time('slots.first_accepted_at') }} as date) <= slots.due_on
        when slots.state = 'nothing_to_report'
            then cast({{ local_time('slots.first_received_at') }} as date) <= slots.due_on
        when slots.state = 'rejected' then false
    end as on_time,
    case
        when slots.first_state in ('accepted', 'accepted_with_warnings') then true
        when slots.first_state in ('partly_accepted', 'rejected') then false
    end as first_pass
from {{ ref('stg_supply_slots') }} as slots
left join {{ ref('stg_served_slots') }} as served
    on
        slots.supplier_id = served.supplier_id
        and slots.dataset = served.dataset
        and slots.period = served.period
