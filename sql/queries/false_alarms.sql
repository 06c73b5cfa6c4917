-- Which finds of the model are on boards that inspectors labelled as good?
with found as (
    select
        boards.uri,
        boards.d.label,
        boards.d.confidence,
        boards.d.x1,
        boards.d.y1,
        boards.d.x2,
        boards.d.y2
    from (
        select
            uri,
            unnest(detect(uri, 'pcb')) as d
        from raw.inspections
        where product_type like 'PCB-%'
    ) as boards
),

clean as (
    select uri
    from raw.current_annotations
    group by uri
    having bool_and(label = 'good')
)

select
    found.label,
    count(*) as alarms,
    round(max(found.confidence), 3) as surest,
    arg_max(found.uri, found.confidence) as example
from found
semi join clean on found.uri = clean.uri
group by found.label
order by alarms desc, found.label asc
