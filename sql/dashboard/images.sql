-- Images to pick one from.
select
    unit_id,
    image_id,
    uri,
    line_id,
    product_type
from inspection_metadata
where
    ($line is null or list_contains($line, line_id))
    and ($product is null or list_contains($product, product_type))
order by captured_at desc
limit 300
