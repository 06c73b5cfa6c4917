create or replace macro detect(image, model := null, threshold := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            'detect',
            list_transform([image is null], lambda n: txid_current())[1],
            list_transform([image is null], lambda n: current_connection_id())[1]
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
