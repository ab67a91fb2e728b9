{#- The schema of a model is what dbt_project.yml says, without the target's name in front: curated tables keep the
    names that readers know. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.schema if custom_schema_name is none else custom_schema_name | trim }}
{%- endmacro %}
