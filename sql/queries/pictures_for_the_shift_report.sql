-- Show me the worst boards with everything drawn on them.
with judged as (
    select
        inspection_id,
        uri,
        detect(uri, 'pcb') as defects
    from raw.inspections
    where product_type like 'PCB-%'
),

worst as materialized (
    select *
    from judged
    order by len(defects) desc, inspection_id
    limit 5
)

select
    inspection_id,
    len(defects) as defects_found,
    draw(uri, defects) as picture
from worst
order by defects_found desc, inspection_id asc
