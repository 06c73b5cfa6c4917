-- What is worth an inspector's time, the most valuable first.
select *
from kpi_review_queue
where
    (getvariable('line') is null or list_contains(getvariable('line'), line_id))
    and (getvariable('product') is null or list_contains(getvariable('product'), product_type))
    and (getvariable('model') is null or list_contains(getvariable('model'), model))
order by queue_rank
