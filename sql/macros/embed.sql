create or replace macro embed(image, model := null) as
list_transform(
    [
        duckspect_embed(
            image,
            model,
            query_identity(image)
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
