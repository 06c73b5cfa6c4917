-- What another threshold would let through and reject in vain; also the points of the curves.
select
    version,
    subset,
    threshold,
    operating_threshold,
    defective_count,
    good_count,
    escape_count,
    overkill_count,
    escape_rate,
    overkill_rate,
    cost,
    1 - escape_rate as recall,
    (defective_count - escape_count)
    / nullif(defective_count - escape_count + overkill_count, 0) as image_precision
from kpi_what_if
where model = $model
order by
    version,
    subset,
    threshold
