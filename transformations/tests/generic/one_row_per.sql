{#- The grain of a model: no two rows share these columns, and a null counts as a value. -#}
{% test one_row_per(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as number_of_rows
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
