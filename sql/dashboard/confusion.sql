-- Which class is taken for which.
select
    version,
    subset,
    gold_label,
    predicted_label,
    image_count
from kpi_confusion
where model = getvariable('model')
