-- Which images are blurred compared with others of the same product? A lens may be dirty or out of place.
with seen as (
    select
        inspection_id,
        product_type,
        station_id,
        uri,
        image_info(uri).sharpness as sharpness
    from raw.inspections
),

compared as (
    select
        *,
        sharpness / median(sharpness) over (partition by product_type) as share_of_median
    from seen
)

select
    inspection_id,
    product_type,
    station_id,
    round(sharpness, 1) as sharpness,
    round(share_of_median, 2) as share_of_median,
    uri
from compared
where share_of_median < 0.5
order by share_of_median, inspection_id
