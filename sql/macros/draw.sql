create or replace macro draw(image, regions) as
list_transform(
    [image],
    lambda i: duckspect_draw(
        i,
        regions::struct(
            label varchar, confidence double, x1 double, y1 double, x2 double, y2 double, area double, mask blob
        )[],
        txid_current(),
        current_connection_id()
    )
)[1]
