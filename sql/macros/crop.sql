create or replace macro crop(image, region, margin := 0) as
duckspect_crop(
    image,
    struct_extract(region, 'x1') - margin,
    struct_extract(region, 'y1') - margin,
    struct_extract(region, 'x2') + margin,
    struct_extract(region, 'y2') + margin,
    list_transform([image is null], lambda n: txid_current())[1],
    list_transform([image is null], lambda n: current_connection_id())[1]
)
