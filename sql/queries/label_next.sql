-- Which unlabelled parts would teach the model most? Those it is least sure about.
with unlabelled as materialized (
    select
        inspections.inspection_id,
        inspections.uri
    from raw.inspections
    anti join raw.current_annotations on inspections.uri = current_annotations.uri
    where inspections.product_type like 'PCB-%'
)

select
    inspection_id,
    round(predict(uri, 'pcb').score, 3) as score,
    uri
from unlabelled
order by abs(score - 0.5), inspection_id
limit 20
