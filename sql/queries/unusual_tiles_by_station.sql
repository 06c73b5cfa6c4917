-- How unusual do the tiles of each station look, week by week? A station whose scores climb may be losing focus.
with judged as (
    select
        station_id,
        captured_at,
        anomaly(uri, 'tile') as verdict
    from raw.inspections
    where product_type like 'TILE-%'
)

select
    judged.station_id as station,
    date_trunc('week', judged.captured_at)::date as week,
    count(*) as tiles,
    count(*) filter (where judged.verdict.is_anomalous) as unusual,
    round(median(judged.verdict.score), 2) as median_score
from judged
group by station, week
order by station, week
