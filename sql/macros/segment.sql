create or replace macro segment(image, model := null, threshold := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            'segment',
            list_transform([image is null], lambda n: txid_current())[1],
            list_transform([image is null], lambda n: current_connection_id())[1]
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
