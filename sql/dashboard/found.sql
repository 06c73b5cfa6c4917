-- What counts as a defect on an inspected image.
select
    label,
    confidence,
    x1,
    y1,
    x2,
    y2
from defect_log
where inspection_id = $inspection_id
