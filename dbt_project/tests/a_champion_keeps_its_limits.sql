{{ config(severity='warn') }}
-- What costs least may reject nearly every good unit: legal, but somebody should know.
select
    points.model,
    points.version,
    points.escape_rate,
    points.overkill_rate,
    points.alternative_threshold
from {{ ref('eval_operating_points') }} as points
inner join {{ ref('dim_model_versions') }} as versions
    on points.model = versions.model and points.version = versions.version
where versions.is_champion and points.subset = 'validation' and not points.is_within_limits
