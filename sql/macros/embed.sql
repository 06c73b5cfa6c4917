create or replace macro embed(image, model := null, reference := null) as
list_transform(
    [
        duckspect_embed(
            image,
            model,
            reference,
            query_identity(image)
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
