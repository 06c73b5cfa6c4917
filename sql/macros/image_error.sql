create or replace macro image_error(image) as
duckspect_image(
    image,
    query_identity(image)
).error
