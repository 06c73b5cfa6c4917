with

version_images as (

    select * from {{ source('ml', 'version_images') }}

),

final as (

    select
        name as model_name,
        version as model_version,
        image_id,
        split
    from version_images

)

select * from final
