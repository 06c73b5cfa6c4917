-- What the versions reach.
select
    version,
    subset,
    metric,
    value,
    image_count,
    is_primary
from kpi_model_metrics
where model = $model
order by
    version desc,
    subset asc,
    is_primary desc,
    metric asc
