-- Which class is taken for which, in boxes or in images.
select
    version,
    subset,
    counted,
    true_label,
    predicted_label,
    coalesce(box_count, image_count) as pair_count
from kpi_confusion
where model = $model
