{{ config(materialized='view') }}
-- What training or the choice of the threshold saw: a version's mistakes on these images say nothing of new ones.
with

frozen as (

    select * from {{ ref('stg_ml__version_images') }}

),

final as (

    select
        md5(concat_ws('|', model, version, image_id)) as seen_image_id,
        image_id,
        model,
        version,
        split
    from frozen
    where split in ('train', 'val')

)

select * from final
