create or replace macro anomaly(image, model := null, threshold := null, reference := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            'anomaly',
            reference,
            query_identity(image)
        )
    ],
    lambda p: case
        when p.fault is not null then error(p.fault)
        when p.answer.score is not null
            then struct_pack(
                score := p.answer.score,
                threshold := coalesce(threshold::double, p.thresholds['*']),
                is_anomalous := p.answer.score >= coalesce(threshold::double, p.thresholds['*'])
            )
    end
)[1]
