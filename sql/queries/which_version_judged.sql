-- Which version of the model was the champion when each board was inspected?
with champions as (
    select
        version,
        valid_from,
        reason
    from ml.alias_history
    where name = 'pcb' and alias = 'champion'
)

select
    inspections.inspection_id,
    inspections.captured_at,
    champions.version,
    champions.reason
from raw.inspections
asof left join champions
    on inspections.captured_at >= champions.valid_from
where inspections.product_type like 'PCB-%'
order by inspections.captured_at desc, inspections.inspection_id asc
limit 20
