with

inference_log as (

    select * from {{ source('ml', 'inference_log') }}

),

final as (

    select
        model,
        version,
        device,
        images as image_count,
        cache_hits as cached_count,
        errors as error_count,
        seconds,
        logged_at
    from inference_log

)

select * from final
