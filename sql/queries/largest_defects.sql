-- What are the largest defects of each kind?
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
    defect.label,
    round((defect.x2 - defect.x1) * (defect.y2 - defect.y1)) as area,
    round(defect.confidence, 3) as confidence,
    defects.inspection_id
from defects
qualify row_number() over (partition by defect.label order by area desc, defects.inspection_id asc) <= 3
order by defect.label asc, area desc
