-- The latest detections, one row per image.
select
    uri,
    unit_id,
    line_id,
    captured_at,
    arg_max(label, confidence) as label,
    max(confidence) as confidence,
    list(struct_pack(label := label, confidence := confidence, x1 := x1, y1 := y1, x2 := x2, y2 := y2)) as regions
from kpi_recent_detections
where
    production_date between $since and $until
    and ($line is null or list_contains($line, line_id))
    and ($product is null or list_contains($product, product_type))
    and ($shift is null or list_contains($shift, shift_name))
    and ($model is null or list_contains($model, model))
group by
    uri,
    unit_id,
    line_id,
    captured_at
order by captured_at desc
limit 8
