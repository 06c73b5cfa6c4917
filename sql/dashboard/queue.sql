-- What is worth an inspector's time, the most valuable first.
select *
from kpi_review_queue
where
    ($line is null or list_contains($line, line_id))
    and ($product is null or list_contains($product, product_type))
    and ($model is null or list_contains($model, model))
order by queue_rank
