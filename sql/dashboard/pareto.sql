-- Which defects there are most of, and what share of all those up to each make.
with

defects as (

    select
        label,
        sum(defect_count) as defect_count
    from kpi_daily_defects
    where
        production_date between getvariable('since') and getvariable('until')
        and (getvariable('line') is null or list_contains(getvariable('line'), line_id))
        and (getvariable('product') is null or list_contains(getvariable('product'), product_type))
        and (getvariable('shift') is null or list_contains(getvariable('shift'), shift_name))
        and (getvariable('model') is null or list_contains(getvariable('model'), model))
    group by label

)

select
    label,
    defect_count,
    sum(defect_count) over (order by defect_count desc, label asc) / sum(defect_count) over () as cumulative_share
from defects
order by
    defect_count desc,
    label asc
