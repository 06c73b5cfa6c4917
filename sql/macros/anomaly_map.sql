create or replace macro anomaly_map(image, model := null) as
list_transform(
    [duckspect_anomaly_map(image, model, if(image is null, 0, txid_current()), current_connection_id())],
    lambda p: if(p.fault is null, p.answer, error(p.fault))
)[1]
