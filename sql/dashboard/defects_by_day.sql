-- Defects of each class day by day.
select
    production_date,
    label,
    sum(defect_count) as defect_count
from kpi_daily_defects
where
    production_date between $since and $until
    and ($line is null or list_contains($line, line_id))
    and ($product is null or list_contains($product, product_type))
    and ($shift is null or list_contains($shift, shift_name))
    and ($model is null or list_contains($model, model))
group by
    production_date,
    label
order by
    production_date,
    label
