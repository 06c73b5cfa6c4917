-- Defects of each class day by day.
select
    production_date,
    label,
    sum(defect_count) as defect_count
from kpi_daily_defects
where
    production_date between getvariable('since') and getvariable('until')
    and (getvariable('line') is null or list_contains(getvariable('line'), line_id))
    and (getvariable('product') is null or list_contains(getvariable('product'), product_type))
    and (getvariable('shift') is null or list_contains(getvariable('shift'), shift_name))
    and (getvariable('model') is null or list_contains(getvariable('model'), model))
group by
    production_date,
    label
order by
    production_date,
    label
