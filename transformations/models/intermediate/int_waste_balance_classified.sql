with

-- the longest prefix that fits decides: 20 is municipal, 20 02 02 is not
classes as (
    select
        balance.waste_code,
        classes.is_municipal,
        classes.waste_class,
        row_number() over (
            partition by balance.waste_code
            order by length(classes.code_prefix) desc
        ) as preference
    from (select distinct waste_code from {{ ref('int_waste_balance_preferred') }}) as balance
    inner join {{ ref('stg_waste_classes') }} as classes
        on left(balance.waste_code, length(classes.code_prefix)) = classes.code_prefix
)

select
    balance.area_code,
    balance.year,
    balance.waste_code,
    balance.flow_code,
    balance.collection_code,
    balance.treatment_code,
    balance.quantity_t,
    coalesce(classes.is_municipal, false) as is_municipal,
    coalesce(classes.waste_class, 'other') as waste_class,
    coalesce(operations.recovery_class, 'not_stated') as recovery_class,
    coalesce(suppliers.is_synthetic, false) as is_synthetic,
    slots.stale_since,
    balance.supplier_id,
    balance.period,
    balance.delivery_id,
    balance.attempt,
    balance.delivered_line,
    balance.delivered_sheet,
    balance.row_warnings
from {{ ref('int_waste_balance_preferred') }} as balance
left join classes
    on
        balance.waste_code = classes.waste_code
        and classes.preference = 1
left join {{ ref('stg_recovery_classes') }} as operations
    on balance.treatment_code = operations.operation_code
left join {{ ref('stg_region_suppliers') }} as suppliers
    on balance.supplier_id = suppliers.supplier_id
left join {{ ref('stg_supply_slots') }} as slots
    on
        balance.supplier_id = slots.supplier_id
        and balance.period = slots.period
        and slots.dataset = 'waste_balance'
