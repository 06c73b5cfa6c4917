create or replace macro image_info(image) as
duckspect_image(image, if(image is null, 0, txid_current()), current_connection_id()).info
