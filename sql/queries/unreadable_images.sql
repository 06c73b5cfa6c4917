-- Which inspected images can no longer be read, and why?
select
    inspection_id,
    uri,
    image_error(uri) as reason
from raw.inspections
where reason is not null
order by uri
