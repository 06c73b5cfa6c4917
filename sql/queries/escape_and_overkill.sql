-- How many defective boards would escape, and how many good ones be rejected in vain, at three thresholds?
-- The boards are scored once.
with truth as (
    select
        uri,
        bool_or(label <> 'good') as is_defective
    from raw.current_annotations
    group by uri
),

scored as (
    select
        truth.is_defective,
        predict(inspections.uri, 'pcb').score as score
    from raw.inspections
    inner join truth on inspections.uri = truth.uri
    where inspections.product_type like 'PCB-%'
)

select
    thresholds.threshold,
    count(*) filter (where scored.is_defective and scored.score < thresholds.threshold) as escapes,
    count(*) filter (where not scored.is_defective and scored.score >= thresholds.threshold) as overkills,
    round(escapes / nullif(count(*) filter (where scored.is_defective), 0), 3) as escape_rate,
    round(overkills / nullif(count(*) filter (where not scored.is_defective), 0), 3) as overkill_rate
from scored
cross join (values (0.1), (0.25), (0.5)) as thresholds (threshold)
group by thresholds.threshold
order by thresholds.threshold
