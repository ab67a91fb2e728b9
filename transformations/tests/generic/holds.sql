{#- A condition every row meets; a condition that is unknown for a row counts as met. -#}
{% test holds(model, condition) %}
select *
from {{ model }}
where not ({{ condition }})
{% endtest %}
