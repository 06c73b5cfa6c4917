create or replace macro predict(image, model := null) as
list_transform(
    list_transform([image], lambda i: duckspect_predict(i, model, null, txid_current(), current_connection_id())),
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
