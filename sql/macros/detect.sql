create or replace macro detect(image, model := null, threshold := null, reference := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            'detect',
            reference,
            query_identity(image)
        )
    ],
    lambda p: if(
        p.fault is null,
        list_transform(
            list_filter(
                p.answer.regions,
                lambda r: r.confidence >= coalesce(
                    threshold::double, p.thresholds[r.label], p.thresholds['*']
                )
            ),
            lambda r: struct_pack(
                label := r.label, confidence := r.confidence, x1 := r.x1, y1 := r.y1, x2 := r.x2, y2 := r.y2
            )
        ),
        error(p.fault)
    )
)[1]
