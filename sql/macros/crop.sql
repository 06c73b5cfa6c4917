create or replace macro crop(image, region, margin := 0) as
list_transform(
    [region],
    lambda r: duckspect_crop(image, r.x1 - margin, r.y1 - margin, r.x2 + margin, r.y2 + margin, txid_current(), current_connection_id())
)[1]
