create or replace macro anomaly_map(image, model := null, reference := null) as
list_transform(
    [
        duckspect_anomaly_map(
            image,
            model,
            reference,
            query_identity(image)
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
