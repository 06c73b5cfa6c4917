{{ config(severity='warn') }}
-- `duckspect models threshold` refuses what no score can be compared with; a threshold that was written by SQL is not
-- checked. A little above 1 is training's way to reject nothing.
select
    thresholds.model,
    thresholds.version,
    thresholds.label,
    thresholds.threshold
from {{ ref('int_thresholds__current') }} as thresholds
inner join {{ ref('stg_ml__model_versions') }} as versions
    on thresholds.model = versions.model and thresholds.version = versions.version
where
    not isfinite(thresholds.threshold)
    or (versions.task <> 'anomaly' and thresholds.threshold not between 0 and 1.000001)
    or (thresholds.label <> '*' and not list_contains(versions.labels, thresholds.label))
