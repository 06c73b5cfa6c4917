-- What is in a folder that nobody has ingested? Put its path for incoming/*; it must lie below a folder of this
-- warehouse's images, or be named in DUCKSPECT_ALLOWED_ROOTS.
select
    uri,
    label,
    round(confidence, 3) as confidence,
    error
from detections('incoming/*', 'pcb')
order by uri asc, confidence desc
