create or replace macro anomaly_map(image, model := null) as
list_transform(
    list_transform([image], lambda i: duckspect_anomaly_map(i, model, txid_current(), current_connection_id())),
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
