select
    model,
    count(*) as champion_count
from {{ ref('dim_model_versions') }}
where is_champion
group by model
having count(*) > 1
