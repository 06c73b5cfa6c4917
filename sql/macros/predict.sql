create or replace macro predict(image, model := null, reference := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            null,
            reference,
            query_identity(image)
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
