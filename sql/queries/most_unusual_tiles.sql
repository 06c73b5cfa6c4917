-- Which tiles look least like the good ones, and where on them?
with judged as (
    select
        inspection_id,
        line_id,
        uri,
        anomaly(uri, 'tile') as verdict
    from raw.inspections
    where product_type like 'TILE-%'
),

chosen as materialized (
    select
        judged.inspection_id,
        judged.line_id,
        judged.uri,
        judged.verdict
    from judged
    where judged.verdict.is_anomalous
    order by judged.verdict.score desc, judged.inspection_id asc
    limit 5
)

select
    chosen.inspection_id,
    chosen.line_id,
    round(chosen.verdict.score, 2) as score,
    round(chosen.verdict.threshold, 2) as threshold,
    anomaly_map(chosen.uri, 'tile') as picture
from chosen
order by score desc, chosen.inspection_id asc
