select
    evaluated.prediction_id,
    evaluated.subset
from {{ ref('int_images__evaluated') }} as evaluated
inner join {{ ref('stg_ml__version_images') }} as frozen
    on
        evaluated.model = frozen.model
        and evaluated.version = frozen.version
        and evaluated.image_id = frozen.image_id
where frozen.split = 'train' and evaluated.subset in ('validation', 'unseen')
