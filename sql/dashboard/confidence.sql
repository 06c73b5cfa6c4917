-- How sure the models were of the defects.
select
    label,
    confidence_from,
    sum(defect_count) as defect_count
from kpi_confidence_distribution
where
    production_date between $since and $until
    and ($line is null or list_contains($line, line_id))
    and ($model is null or list_contains($model, model))
group by
    label,
    confidence_from
order by
    label,
    confidence_from
