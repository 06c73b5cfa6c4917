-- How many defects does the model find on each line, in the early, late and night shift?
with boards as (
    select
        unit_id,
        line_id,
        case
            when hour(captured_at) between 6 and 13 then 'early'
            when hour(captured_at) between 14 and 21 then 'late'
            else 'night'
        end as shift,
        unnest(detect(uri, 'pcb')) as defect
    from raw.inspections
    where product_type like 'PCB-%'
),

named as (
    select
        boards.unit_id,
        boards.line_id,
        boards.shift,
        boards.defect.label
    from boards
)

select
    line_id,
    shift,
    label,
    count(*) as defects,
    count(distinct unit_id) as boards
from named
group by all
order by count(*) desc, line_id asc, shift asc, label asc
