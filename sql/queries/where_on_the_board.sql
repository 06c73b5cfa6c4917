-- Where on the board do defects gather? Counts in a grid of four by four, from the top left.
with defects as (
    select
        image_id,
        uri,
        unnest(detect(uri, 'pcb')) as defect
    from raw.inspections
    where product_type like 'PCB-%'
)

select
    least(3, floor((defects.defect.y1 + defects.defect.y2) / 2 / images.height * 4))::integer as row_number,
    least(3, floor((defects.defect.x1 + defects.defect.x2) / 2 / images.width * 4))::integer as column_number,
    count(*) as defects
from defects
inner join raw.images on defects.image_id = images.image_id
group by all
order by all
