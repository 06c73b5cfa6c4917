-- What people say of an image.
select
    label,
    x1,
    y1,
    x2,
    y2
from labels
where image_id = $image_id
