-- An image is unreadable when its prediction says so; no image may be without one, or have two.
with

requested as (

    select
        metadata.image_id,
        champions.model,
        champions.version
    from {{ ref('inspection_metadata') }} as metadata
    inner join {{ ref('scoring_assignments') }} as assignments
        on metadata.product_type like assignments.product_pattern
    inner join {{ ref('dim_model_versions') }} as champions
        on assignments.model = champions.model and champions.is_champion
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
