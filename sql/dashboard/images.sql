-- Images to pick one from.
select
    unit_id,
    image_id,
    uri,
    line_id,
    product_type
from inspection_metadata
where
    (getvariable('line') is null or list_contains(getvariable('line'), line_id))
    and (getvariable('product') is null or list_contains(getvariable('product'), product_type))
order by captured_at desc
limit 300
