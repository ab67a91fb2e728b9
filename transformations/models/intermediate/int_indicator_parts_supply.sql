{{ config(materialized='table') }}

-- K-40 to K-44 by municipality and for the region, by year and month of the deadline. A slot that is owed is due once
-- its deadline has passed or something was delivered for it; what is not due yet is in no figure. One row per
-- indicator, area and period.
with

slots as (
    select
        region_id,
        area_code as area,
        supplier_id,
        dataset,
        period,
        state,
        attempts,
        first_state,
        first_received_at,
        first_accepted_at,
        received_at,
        judged_at,
        due_on,
        is_served,
        is_declared_empty
    from {{ ref('int_slots_by_area') }}
    where
        is_owed
        and state <> 'missing'
    union
    select
        region_id,
        region_id as area,
        supplier_id,
        dataset,
        period,
        state,
        attempts,
        first_state,
        first_received_at,
        first_accepted_at,
        received_at,
        judged_at,
        due_on,
        is_served,
        is_declared_empty
    from {{ ref('int_slots_by_area') }}
    where
        is_owed
        and state <> 'missing'
),

in_periods as (
    select *, {{ year_text('due_on') }} as due_period from slots
    union all
    select *, {{ month_text('due_on') }} as due_period from slots
),

counted as (
    select
        region_id,
        area,
        due_period,
        cast(count(*) as bigint) as due,
        {{ count_where('is_served or is_declared_empty') }} as covered,
        {{ count_where(
            "(is_served and cast(" ~ local_time('first_accepted_at') ~ " as date) <= due_on)"
            ~ " or (is_declared_empty"
            ~ " and cast(" ~ local_time('coalesce(first_accepted_at, first_received_at)') ~ " as date) <= due_on)"
        ) }} as on_time,
        {{ count_where(
            "first_state in ('accepted', 'accepted_with_warnings', 'partly_accepted', 'rejected')"
        ) }} as judged_first,
        {{ count_where("first_state in ('accepted', 'accepted_with_warnings')") }} as passed_first,
        {{ count_where('attempts > 0') }} as delivered,
        cast(sum(case when attempts > 1 then attempts - 1 else 0 end) as bigint) as corrections,
        {{ count_where('attempts > 1') }} as corrected,
        sum(case when attempts > 1 then {{ seconds_between('first_received_at', 'received_at') }} else 0 end) / 86400
            as corrected_days
    from in_periods
    group by region_id, area, due_period
),

deliveries as (
    select
        in_periods.region_id,
        in_periods.area,
        in_periods.due_period,
        {{ seconds_between('deliveries.received_at', 'deliveries.acknowledged_at') }} as receipt_seconds,
        -- a verdict given again after a rule changed says nothing about how long anybody waited
        {{ seconds_between('deliveries.received_at', 'deliveries.first_judged_at') }} as verdict_seconds,
        {{ seconds_between(
            'deliveries.first_judged_at',
            'lead(deliveries.received_at) over ('
            ~ 'partition by in_periods.region_id, in_periods.area, in_periods.due_period,'
            ~ ' deliveries.supplier_id, deliveries.dataset, deliveries.period'
            ~ ' order by deliveries.attempt)'
        ) }} as correction_seconds
    from in_periods
    inner join {{ ref('stg_supply_deliveries') }} as deliveries
        on
            in_periods.supplier_id = deliveries.supplier_id
            and in_periods.dataset = deliveries.dataset
            and in_periods.period = deliveries.period
    where deliveries.state <> 'duplicate'
),

-- the next attempt may have arrived before the verdict; nobody corrected anything in answer to it then
times as (
    select
        region_id,
        area,
        due_period,
        cast(count(*) as bigint) as received,
        cast(count(receipt_seconds) as bigint) as receipts,
        percentile_cont(0.5) within group (order by receipt_seconds) as receipt_p50,
        percentile_cont(0.95) within group (order by receipt_seconds) as receipt_p95,
        cast(count(verdict_seconds) as bigint) as verdicts,
        percentile_cont(0.5) within group (order by verdict_seconds) as verdict_p50,
        percentile_cont(0.95) within group (order by verdict_seconds) as verdict_p95,
        cast(count(case when correction_seconds >= 0 then 1 end) as bigint) as corrections,
        percentile_cont(0.5) within group (order by case when correction_seconds >= 0 then correction_seconds end)
            as correction_p50,
        percentile_cont(0.95) within group (order by case when correction_seconds >= 0 then correction_seconds end)
            as correction_p95
    from deliveries
    group by region_id, area, due_period
),

{% set ratios = [
    ('K-40', 'covered', 'due', 'nothing_due'),
    ('K-41', 'on_time', 'due', 'nothing_due'),
    ('K-42', 'passed_first', 'judged_first', 'no_delivery'),
    ('K-43', 'corrections', 'delivered', 'no_delivery'),
    ('K-43-age', 'corrected_days', 'corrected', 'no_correction'),
] %}
{% set no_receipt = "case when times.received > 0 then 'not_recorded' else 'no_delivery' end" %}
{% set quantiles = [
    ('K-44', 'verdict_p50', 'verdicts', "'no_delivery'"),
    ('K-44-verdict-p95', 'verdict_p95', 'verdicts', "'no_delivery'"),
    ('K-44-receipt-p50', 'receipt_p50', 'receipts', no_receipt),
    ('K-44-receipt-p95', 'receipt_p95', 'receipts', no_receipt),
    ('K-44-correction-p50', 'correction_p50', 'corrections', "'no_correction'"),
    ('K-44-correction-p95', 'correction_p95', 'corrections', "'no_correction'"),
] %}
parts as (
    {% for indicator, numerator, denominator, reason in ratios %}
    select
        '{{ indicator }}' as indicator,
        region_id,
        area,
        due_period as period,
        cast(null as decimal(28, 6)) as stated_value,
        cast(round({{ numerator }}, 6) as decimal(38, 6)) as numerator,
        cast({{ denominator }} as decimal(38, 6)) as denominator,
        case when {{ denominator }} = 0 then '{{ reason }}' end as missing_reason
    from counted
    union all
    {% endfor %}
    {% for indicator, quantile, number, reason in quantiles %}
    select
        '{{ indicator }}' as indicator,
        counted.region_id,
        counted.area,
        counted.due_period as period,
        cast(round(times.{{ quantile }}, 6) as decimal(28, 6)) as stated_value,
        cast(null as decimal(38, 6)) as numerator,
        cast(coalesce(times.{{ number }}, 0) as decimal(38, 6)) as denominator,
        case when coalesce(times.{{ number }}, 0) = 0 then {{ reason }} end as missing_reason
    from counted
    left join times
        on
            counted.region_id = times.region_id
            and counted.area = times.area
            and counted.due_period = times.due_period
    {{ "union all" if not loop.last }}
    {% endfor %}
)

select
    indicator,
    region_id,
    area,
    false as is_rolled_up,
    period,
    stated_value,
    case when missing_reason is null then numerator end as numerator,
    denominator,
    missing_reason,
    false as is_declared_empty,
    cast(null as decimal(38, 6)) as estimated,
    cast(null as decimal(38, 6)) as substituted,
    cast(null as decimal(38, 6)) as share_base,
    cast(null as {{ instant() }}) as stale_since
from parts
