-- Which version of each model is in service, since when, why, and how good was it when it was trained?
select
    aliases.name,
    aliases.version,
    aliases.valid_from,
    aliases.reason,
    versions.architecture,
    coalesce(versions.metrics ->> 'map50', versions.metrics ->> 'image_auroc', versions.metrics ->> 'accuracy') as metric
from ml.model_aliases as aliases
inner join ml.model_versions as versions
    on aliases.name = versions.name and aliases.version = versions.version
where aliases.alias = 'champion'
order by aliases.name
