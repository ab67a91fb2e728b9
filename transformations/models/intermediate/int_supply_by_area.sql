-- One row per dataset, area and period in which something is owed or served. The area has its data when every owed
-- slot is served or declared empty; of several gaps the one that needs a person first is named.
with

ranked as (
    select
        dataset,
        area_code,
        period,
        is_served,
        is_declared_empty,
        missing_reason,
        row_number() over (
            partition by dataset, area_code, period
            order by
                case missing_reason
                    when 'rejected' then 1
                    when 'overdue' then 2
                    when 'withdrawn' then 3
                    when 'not_judged' then 4
                    when 'no_delivery' then 5
                    when 'nothing_to_report' then 8
                    else 7
                end asc,
                missing_reason asc nulls last
        ) as urgency
    from {{ ref('int_slots_by_area') }}
    where missing_reason is not null
),

counted as (
    select
        dataset,
        area_code,
        period,
        {{ count_where('is_served') }} as served_slots,
        {{ count_where('is_declared_empty') }} as declared_empty_slots,
        cast(count(*) as bigint) as slots
    from {{ ref('int_slots_by_area') }}
    group by dataset, area_code, period
)

select
    counted.dataset,
    counted.area_code,
    counted.period,
    counted.slots,
    counted.served_slots,
    counted.declared_empty_slots,
    counted.declared_empty_slots = counted.slots as is_declared_empty,
    case
        when counted.served_slots > 0 and counted.served_slots + counted.declared_empty_slots = counted.slots then null
        else ranked.missing_reason
    end as missing_reason
from counted
left join ranked
    on
        counted.dataset = ranked.dataset
        and counted.area_code = ranked.area_code
        and counted.period = ranked.period
        and ranked.urgency = 1
