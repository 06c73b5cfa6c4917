-- Which defects there are most of, and what share of all those up to each make.
with

defects as (

    select
        label,
        sum(defect_count) as defect_count
    from kpi_daily_defects
    where
        production_date between $since and $until
        and ($line is null or list_contains($line, line_id))
        and ($product is null or list_contains($product, product_type))
        and ($shift is null or list_contains($shift, shift_name))
        and ($model is null or list_contains($model, model))
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
