with

images as (

    select * from {{ source('raw', 'images') }}

),

final as (

    select
        image_id,
        uri,
        source as source_name,
        format as file_format,
        width as width_px,
        height as height_px,
        channels as channel_count,
        size_bytes,
        ingested_at
    from images

)

select * from final
