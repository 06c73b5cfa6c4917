-- How fast is each model, and how much does the cache save?
select
    model,
    version,
    device,
    count(*) as queries,
    sum(images) as images,
    round(sum(cache_hits) / nullif(sum(images), 0), 3) as share_from_cache,
    round(1000 * sum(seconds) / nullif(sum(images - cache_hits), 0), 1) as milliseconds_an_image
from ml.inference_log
group by all
order by model, version, device
