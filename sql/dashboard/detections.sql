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
    production_date between getvariable('since') and getvariable('until')
    and (getvariable('line') is null or list_contains(getvariable('line'), line_id))
    and (getvariable('product') is null or list_contains(getvariable('product'), product_type))
    and (getvariable('shift') is null or list_contains(getvariable('shift'), shift_name))
    and (getvariable('model') is null or list_contains(getvariable('model'), model))
group by
    uri,
    unit_id,
    line_id,
    captured_at
order by captured_at desc
limit 8
