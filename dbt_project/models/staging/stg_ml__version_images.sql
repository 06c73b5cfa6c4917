with

version_images as (

    select * from {{ source('ml', 'version_images') }}

),

final as (

    select
        name as model,
        version,
        image_id,
        split
    from version_images

)

select * from final
