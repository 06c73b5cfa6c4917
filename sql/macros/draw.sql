create or replace macro draw(image, regions) as
duckspect_draw(
    image,
    regions::struct(
        label varchar, confidence double, x1 double, y1 double, x2 double, y2 double, area double, mask blob
    )[],
    list_transform([image is null], lambda n: txid_current())[1],
    list_transform([image is null], lambda n: current_connection_id())[1]
)
