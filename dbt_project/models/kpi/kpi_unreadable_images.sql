with

images as (

    select * from {{ ref('fct_unreadable_images') }}

),

final as (

    select
        unreadable_id,
        found_by,
        line_id,
        station_id,
        product_type,
        uri,
        reason,
        seen_local,
        seen_at
    from images

)

select * from final
