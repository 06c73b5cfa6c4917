-- What somebody should look at: drift, lines out of control, unreadable images, models that fail.
select
    'drift' as kind,
    concat_ws(' ', feature, 'of', entity_kind, entity) as subject,
    format('stability index {:.2f}, by chance {:.2f}', psi, psi_by_chance) as detail,
    line_id
from kpi_drift
where is_drifted and ($line is null or line_id is null or list_contains($line, line_id))
union all
select
    'out of control' as kind,
    concat('line ', line_id) as subject,
    format('{:.1f} % defective on {}, limit {:.1f} %', 100 * defect_rate, production_date, 100 * upper_limit) as detail,
    line_id
from kpi_control_chart
where
    is_out_of_control
    and production_date between $since and $until
    and ($line is null or list_contains($line, line_id))
union all
select
    'unreadable' as kind,
    coalesce(line_id, 'no line') as subject,
    format('{} images, the last: {}', count(*), arg_max(reason, seen_at)) as detail,
    line_id
from kpi_unreadable_images
where $line is null or line_id is null or list_contains($line, line_id)
group by line_id
union all
select
    'errors' as kind,
    concat('model ', model) as subject,
    format('{:.1f} % of its images could not be scored', 100 * sum(error_count) / sum(inspection_count)) as detail,
    null as line_id
from kpi_model_quality
where
    production_date between $since and $until
    and ($model is null or list_contains($model, model))
group by model
having sum(error_count) > 0
