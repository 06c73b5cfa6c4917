select
    evaluated.prediction_id,
    evaluated.subset
from {{ ref('int_images__evaluated') }} as evaluated
inner join {{ ref('stg_ml__version_images') }} as frozen
    on
        evaluated.model_name = frozen.model_name
        and evaluated.model_version = frozen.model_version
        and evaluated.image_id = frozen.image_id
where frozen.split = 'train' and evaluated.subset in ('validation', 'unseen')
