-- Which pictures were inspected under more than one name? A camera may have stopped.
select
    image_id,
    count(*) as inspections,
    list(uri order by captured_at) as uris
from raw.inspections
group by image_id
having count(*) > 1
order by inspections desc, image_id asc
