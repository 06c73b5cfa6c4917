-- How the versions learned.
select
    runs.version,
    metrics.metric,
    metrics.epoch,
    metrics.value
from ml.training_metrics as metrics
inner join ml.training_runs as runs on metrics.run_id = runs.run_id
where runs.name = $model and runs.version is not null
order by
    runs.version,
    metrics.metric,
    metrics.epoch
