-- Does the light of a station drift? Mean brightness of its images, week by week.
select
    station_id,
    date_trunc('week', captured_at)::date as week,
    count(*) as images,
    round(avg(image_info(uri).brightness), 1) as brightness
from raw.inspections
group by all
order by station_id, week
