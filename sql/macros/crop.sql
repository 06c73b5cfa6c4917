create or replace macro crop(image, region, margin := 0) as
duckspect_crop(
    image,
    struct_extract(region, 'x1') - margin,
    struct_extract(region, 'y1') - margin,
    struct_extract(region, 'x2') + margin,
    struct_extract(region, 'y2') + margin,
    query_identity(image)
)
