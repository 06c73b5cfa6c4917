-- On which boards do the first version and the champion come to different verdicts?
with judged as (
    select
        inspection_id,
        uri,
        predict(uri, 'pcb@1') as before,
        predict(uri, 'pcb@champion') as now
    from raw.inspections
    where product_type like 'PCB-%'
)

select
    judged.inspection_id,
    judged.before.label as label_before,
    judged.now.label as label_now,
    round(judged.before.score, 3) as score_before,
    round(judged.now.score, 3) as score_now,
    judged.uri
from judged
where (judged.before.label = 'good') <> (judged.now.label = 'good')
order by abs(judged.now.score - judged.before.score) desc, judged.inspection_id
