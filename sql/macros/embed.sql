create or replace macro embed(image, model := null) as
list_transform(
    [
        duckspect_embed(
            image,
            model,
            list_transform([image is null], lambda n: txid_current())[1],
            list_transform([image is null], lambda n: current_connection_id())[1]
        )
    ],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
