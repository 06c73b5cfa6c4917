-- Defects of each class on each line, per thousand scored units.
with

units as (

    select
        line_id,
        sum(scored_count) as unit_count
    from kpi_daily_quality
    where
        production_date between $since and $until
        and ($line is null or list_contains($line, line_id))
        and ($product is null or list_contains($product, product_type))
        and ($shift is null or list_contains($shift, shift_name))
    group by line_id

),

defects as (

    select
        line_id,
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
        line_id,
        label

)

select
    defects.line_id,
    defects.label,
    defects.defect_count,
    1000 * defects.defect_count / nullif(units.unit_count, 0) as defects_per_thousand_units
from defects
left join units on defects.line_id = units.line_id
order by
    defects.line_id,
    defects.label
