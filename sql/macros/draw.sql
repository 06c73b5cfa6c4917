create or replace macro draw(image, regions) as
duckspect_draw(
    image,
    regions::struct(
        label varchar, confidence double, x1 double, y1 double, x2 double, y2 double, area double, mask blob
    )[],
    query_identity(image)
)
