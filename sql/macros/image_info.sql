create or replace macro image_info(image) as
duckspect_image(
    image,
    list_transform([image is null], lambda n: txid_current())[1],
    list_transform([image is null], lambda n: current_connection_id())[1]
).info
