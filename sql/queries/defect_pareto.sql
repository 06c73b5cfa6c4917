-- Which few kinds of defect make up most of them?
with defects as (
    select
        inspection_id,
        unit_id,
        uri,
        line_id,
        captured_at,
        unnest(detect(uri, 'pcb')) as defect
    from raw.inspections
    where product_type like 'PCB-%'
),

counted as (
    select
        defect.label,
        count(*) as defects
    from defects
    group by all
)

select
    label,
    defects,
    round(sum(defects) over (order by defects desc, label asc) / sum(defects) over (), 3) as cumulative_share
from counted
order by defects desc, label asc
