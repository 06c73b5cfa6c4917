select
    model_name,
    count(*) as champion_count
from {{ ref('dim_model_versions') }}
where is_champion
group by model_name
having count(*) > 1
