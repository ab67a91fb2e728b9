{#- What DuckDB and Spark spell differently, or do differently under the same name. Models call these and stay one text. -#}

{#- A quotient as decimal(28,6), null where the denominator is zero or either side is unknown. The engines differ in the
    type and digits of a decimal division, and in what 1/0 is. -#}
{% macro ratio(numerator, denominator) -%}
    cast(round(cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0), 6) as decimal(28, 6))
{%- endmacro %}

{#- Sum of decimals with one type on every engine. -#}
{% macro total(expression) -%}
    cast(sum({{ expression }}) as decimal(38, 6))
{%- endmacro %}

{#- Number of rows for which the condition holds, as bigint. -#}
{% macro count_where(condition) -%}
    cast(sum(case when {{ condition }} then 1 else 0 end) as bigint)
{%- endmacro %}

{#- The local wall-clock time of an instant, without zone. -#}
{% macro local_time(instant, zone='Europe/Berlin') -%}
    {{ adapter.dispatch('local_time', 'verbund')(instant, zone) }}
{%- endmacro %}

{% macro default__local_time(instant, zone) -%}
    timezone('{{ zone }}', {{ instant }})
{%- endmacro %}

{% macro spark__local_time(instant, zone) -%}
    cast(from_utc_timestamp({{ instant }}, '{{ zone }}') as timestamp_ntz)
{%- endmacro %}

{#- Number of quarter hours of a local day: 96, and 92 or 100 when the clock changes. -#}
{% macro quarter_hours_of_day(day, zone='Europe/Berlin') -%}
    {{ adapter.dispatch('quarter_hours_of_day', 'verbund')(day, zone) }}
{%- endmacro %}

{% macro default__quarter_hours_of_day(day, zone) -%}
    cast(date_diff(
        'minute',
        timezone('{{ zone }}', cast({{ day }} as timestamp)),
        timezone('{{ zone }}', cast({{ add_days(day, 1) }} as timestamp))
    ) / 15 as bigint)
{%- endmacro %}

{% macro spark__quarter_hours_of_day(day, zone) -%}
    cast((
        unix_timestamp(to_utc_timestamp(cast({{ add_days(day, 1) }} as timestamp), '{{ zone }}'))
        - unix_timestamp(to_utc_timestamp(cast({{ day }} as timestamp), '{{ zone }}'))
    ) / 900 as bigint)
{%- endmacro %}

{#- Every day from `first` up to and including `last`, one row each, for use in a select list. -#}
{% macro days(first, last) -%}
    {{ adapter.dispatch('days', 'verbund')(first, last) }}
{%- endmacro %}

{% macro default__days(first, last) -%}
    cast(unnest(generate_series(cast({{ first }} as timestamp), cast({{ last }} as timestamp), interval 1 day)) as date)
{%- endmacro %}

{% macro spark__days(first, last) -%}
    explode(sequence({{ first }}, {{ last }}, interval 1 day))
{%- endmacro %}

{#- A date some days later. -#}
{% macro add_days(day, number) -%}
    {{ adapter.dispatch('add_days', 'verbund')(day, number) }}
{%- endmacro %}

{% macro default__add_days(day, number) -%}
    cast({{ day }} + {{ number }} as date)
{%- endmacro %}

{% macro spark__add_days(day, number) -%}
    date_add({{ day }}, {{ number }})
{%- endmacro %}

{#- Seconds from one instant to another, with fractions, as double. -#}
{% macro seconds_between(earlier, later) -%}
    {{ adapter.dispatch('seconds_between', 'verbund')(earlier, later) }}
{%- endmacro %}

{% macro default__seconds_between(earlier, later) -%}
    cast(date_diff('millisecond', {{ earlier }}, {{ later }}) as double) / 1000
{%- endmacro %}

{% macro spark__seconds_between(earlier, later) -%}
    cast(unix_millis({{ later }}) - unix_millis({{ earlier }}) as double) / 1000
{%- endmacro %}

{#- The different values of a text column in order, joined by commas; null where there are none. -#}
{% macro list_text(expression) -%}
    {{ adapter.dispatch('list_text', 'verbund')(expression) }}
{%- endmacro %}

{% macro default__list_text(expression) -%}
    string_agg(distinct {{ expression }}, ',' order by {{ expression }})
{%- endmacro %}

{% macro spark__list_text(expression) -%}
    nullif(array_join(array_sort(collect_set({{ expression }})), ','), '')
{%- endmacro %}

{#- The year of a date or its month, written as periods are: 2025, 2025-03. -#}
{% macro year_text(day) -%}
    substr(cast({{ day }} as string), 1, 4)
{%- endmacro %}

{% macro month_text(day) -%}
    substr(cast({{ day }} as string), 1, 7)
{%- endmacro %}

{#- The type of an instant in a model contract, which both engines must know. -#}
{% macro instant() -%}
    {{ adapter.dispatch('instant', 'verbund')() }}
{%- endmacro %}

{% macro default__instant() -%}timestamptz{%- endmacro %}

{% macro spark__instant() -%}timestamp{%- endmacro %}
