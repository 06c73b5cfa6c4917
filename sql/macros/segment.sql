create or replace macro segment(image, model := null, threshold := null, reference := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            'segment',
            reference,
            query_identity(image)
        )
    ],
    lambda p: if(
        p.fault is null,
        list_filter(
            p.answer.regions,
            lambda r: r.confidence >= coalesce(threshold::double, p.thresholds[r.label], p.thresholds['*'])
        ),
        error(p.fault)
    )
)[1]
