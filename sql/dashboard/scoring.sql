-- What scoring costs.
select
    model,
    version,
    device,
    sum(image_count) as image_count,
    sum(image_count) / nullif(sum(seconds), 0) as images_per_second,
    sum(error_count) as error_count,
    max(scoring_date) as last_date
from kpi_scoring
group by
    model,
    version,
    device
order by
    model,
    version
