create or replace macro image_error(image) as
list_transform([image], lambda i: duckspect_image(i, txid_current(), current_connection_id()))[1].error
