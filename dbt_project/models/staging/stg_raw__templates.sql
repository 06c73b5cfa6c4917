with

templates as (

    select * from {{ source('raw', 'templates') }}

),

final as (

    select
        image_id,
        template_image_id,
        uri,
        linked_at
    from templates

)

select * from final
