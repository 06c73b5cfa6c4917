-- What was known of the inspections that were corrected or moved, and until when? The last row of each holds now.
with states as (
    select
        *,
        superseded_at as held_until
    from raw.superseded_inspections
    union all by name
    select inspections.*
    from raw.inspections
    semi join raw.superseded_inspections
        on inspections.inspection_id = superseded_inspections.inspection_id
)

select
    inspection_id,
    unit_id,
    line_id,
    station_id,
    product_type,
    captured_at,
    uri,
    held_until,
    superseded_by
from states
order by inspection_id asc, held_until asc nulls last
