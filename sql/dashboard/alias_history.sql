-- Which version had which alias, and why.
select
    alias,
    version,
    reason,
    changed_by,
    valid_from,
    valid_to
from ml.alias_history
where name = $model
order by valid_from desc
