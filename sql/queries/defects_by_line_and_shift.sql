-- How many defects does the model find on each line, in the early, late and night shift?
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
)

select
    defects.line_id,
    case
        when hour(defects.captured_at) between 6 and 13 then 'early'
        when hour(defects.captured_at) between 14 and 21 then 'late'
        else 'night'
    end as shift,
    defect.label,
    count(*) as defects,
    count(distinct defects.unit_id) as boards
from defects
group by all
order by count(*) desc, line_id, shift, defect.label
