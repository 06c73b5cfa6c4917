create or replace macro predict(image, model := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            null,
            query_identity(image)
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
