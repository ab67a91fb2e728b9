{#- Rows of `relation` ranked so that one supplier speaks for each key: the one that holds the mandate on the given day,
    else the one accepted last. A row that two suppliers deliver is thereby counted once, and who was responsible at the
    end of the period wins when a mandate changed hands within it. Keep `supplier_preference = 1`.

    keys: columns that name a thing once; area: municipality key of the row; day: date the mandate must hold on. -#}
{% macro one_supplier_per(relation, dataset, keys, area, day) -%}
    select
        delivered.*,
        row_number() over (
            partition by {% for key in keys %}delivered.{{ key }}{{ ", " if not loop.last }}{% endfor %}
            order by
                case when mandates.supplier_id is null then 1 else 0 end,
                served.accepted_at desc nulls last,
                delivered.supplier_id asc nulls last,
                delivered.delivered_line asc nulls last
        ) as supplier_preference
    from {{ relation }} as delivered
    left join {{ ref('stg_served_slots') }} as served
        on
            delivered.supplier_id = served.supplier_id
            and delivered.period = served.period
            and served.dataset = '{{ dataset }}'
    left join {{ ref('stg_region_mandates') }} as mandates
        on
            delivered.supplier_id = mandates.supplier_id
            and mandates.dataset = '{{ dataset }}'
            and left({{ area }}, length(mandates.area_prefix)) = mandates.area_prefix
            and mandates.valid_from_date <= {{ day }}
            and mandates.valid_until_date > {{ day }}
{%- endmacro %}
