create or replace macro image_info(image) as
duckspect_image(
    image,
    query_identity(image)
).info
