-- Which labelled defects does the model miss, having found nothing of that kind that touches them?
with boards as (
    select uri
    from raw.inspections
    where product_type like 'PCB-%'
),

scored as (
    select
        uri,
        unnest(detect(uri, 'pcb')) as defect
    from boards
),

found as (
    select
        scored.uri,
        scored.defect.label,
        scored.defect.x1,
        scored.defect.y1,
        scored.defect.x2,
        scored.defect.y2
    from scored
),

labelled as (
    select
        uri,
        label,
        x1,
        y1,
        x2,
        y2
    from raw.current_annotations
    where kind in ('box', 'polygon') and uri in (from boards)
)

select
    labelled.label,
    count(*) as missed,
    any_value(labelled.uri) as example
from labelled
anti join found
    on
        labelled.uri = found.uri
        and labelled.label = found.label
        and labelled.x1 < found.x2
        and labelled.x2 > found.x1
        and labelled.y1 < found.y2
        and labelled.y2 > found.y1
group by labelled.label
order by missed desc, labelled.label asc
