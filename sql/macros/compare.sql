create or replace macro compare(image, reference := null, alignment := null) as
list_transform(
    [
        duckspect_compare(
            image,
            reference,
            alignment,
            query_identity(image)
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
