-- How sure the models were of the defects.
select
    label,
    confidence_from,
    sum(defect_count) as defect_count
from kpi_confidence_distribution
where
    production_date between getvariable('since') and getvariable('until')
    and (getvariable('line') is null or list_contains(getvariable('line'), line_id))
    and (getvariable('model') is null or list_contains(getvariable('model'), model))
group by
    label,
    confidence_from
order by
    label,
    confidence_from
