create or replace macro embed(image, model := null) as
list_transform(
    [duckspect_embed(image, model, if(image is null, 0, txid_current()), current_connection_id())],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
