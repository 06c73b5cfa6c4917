-- A camera that writes broken files, or an unmounted folder, must not look like a good day.
select
    count(*) filter (where error is not null) as unreadable_count,
    count(*) as image_count
from {{ ref('predictions') }}
having count(*) filter (where error is not null) > {{ var('max_error_rate') }} * count(*)
