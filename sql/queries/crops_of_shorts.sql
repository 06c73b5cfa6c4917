-- Show me every short of the last day of production, cut out with a margin.
with last_day as (
    select
        inspection_id,
        uri
    from raw.inspections
    where
        product_type like 'PCB-%'
        and captured_at::date = (select max(latest.captured_at)::date from raw.inspections as latest)
),

defects as (
    select
        inspection_id,
        uri,
        unnest(detect(uri, 'pcb')) as defect
    from last_day
)

select
    defects.inspection_id,
    round(defect.confidence, 3) as confidence,
    crop(defects.uri, defects.defect, margin := 12) as picture
from defects
where defect.label = 'short'
order by confidence desc, defects.inspection_id asc
