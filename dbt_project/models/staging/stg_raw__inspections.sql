with

inspections as (

    select * from {{ source('raw', 'inspections') }}

),

final as (

    select
        inspection_id,
        unit_id,
        image_id,
        line_id,
        station_id,
        uri,
        product_type,
        attributes,
        captured_at,
        ingested_at
    from inspections

)

select * from final
