create or replace macro classify(image, model := null, reference := null) as
list_transform(
    [
        duckspect_predict(
            image,
            model,
            'classify',
            reference,
            query_identity(image)
        )
    ],
    lambda p: case
        when p.fault is not null then error(p.fault)
        when p.answer.label is not null
            then struct_pack(
                label := p.answer.label,
                confidence := p.answer.confidence,
                probabilities := map_from_entries(
                    list_transform(p.answer.regions, lambda r: struct_pack(k := r.label, v := r.confidence))
                )
            )
    end
)[1]
