with

days as (

    select * from {{ ref('agg_scoring_daily') }}

),

final as (

    select
        scoring_day_id,
        model,
        version,
        device,
        image_count,
        cached_count,
        error_count,
        query_count,
        seconds,
        {{ share('image_count', 'seconds') }} as images_per_second,
        cost,
        {{ share('1000 * cost', 'image_count') }} as cost_per_thousand_images,
        scoring_date
    from days

)

select * from final
