-- An image is unreadable when its prediction says so; no image may be without one, or have two.
with

requested as (

    select
        assigned.image_id,
        champions.model,
        champions.version
    from {{ ref('int_inspections__assigned') }} as assigned
    inner join {{ ref('dim_model_versions') }} as champions
        on assigned.model = champions.model and champions.is_champion
    group by all

)

select
    requested.image_id,
    requested.model,
    count(predictions.prediction_id) as prediction_count
from requested
left join {{ ref('predictions') }} as predictions
    on
        requested.image_id = predictions.image_id
        and requested.model = predictions.model
        and requested.version = predictions.version
group by
    requested.image_id,
    requested.model
having count(predictions.prediction_id) <> 1
