-- The registry.
select
    name as model,
    version,
    task,
    architecture,
    concat(name, '@', version) as reference,
    (
        select string_agg(held.alias, ', ' order by held.alias) from ml.model_aliases as held
        where held.name = versions.name and held.version = versions.version
    ) as aliases,
    created_by,
    created_at
from ml.model_versions as versions
order by
    name asc,
    version desc
