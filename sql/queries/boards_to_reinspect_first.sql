-- Which boards should a person look at first? Those whose score is closest to the operating point, where the
-- model is least sure.
with judged as (
    select
        inspection_id,
        line_id,
        uri,
        predict(uri, 'pcb') as verdict
    from raw.inspections
    where product_type like 'PCB-%'
),

operating_point as (
    select arg_max(thresholds.threshold, thresholds.valid_from) as threshold
    from ml.thresholds
    inner join ml.model_aliases
        on thresholds.name = model_aliases.name and thresholds.version = model_aliases.version
    where model_aliases.name = 'pcb' and model_aliases.alias = 'champion' and thresholds.label = '*'
)

select
    judged.inspection_id,
    judged.line_id,
    judged.verdict.label,
    round(judged.verdict.score, 3) as score,
    judged.uri
from judged
cross join operating_point
where judged.verdict.error is null
order by abs(judged.verdict.score - coalesce(operating_point.threshold, 0.25)), judged.inspection_id
limit 20
