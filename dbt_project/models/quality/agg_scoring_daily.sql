-- depends_on: {{ ref('predictions') }}: what this build scored is counted too.
with

inference_log as (

    select * from {{ ref('stg_ml__inference_log') }}
    union all by name
    select
        model,
        version,
        device,
        1 as image_count,
        cast(is_cached as integer) as cached_count,
        0 as error_count,
        seconds,
        judged_at as logged_at
    from {{ ref('stg_ml__verdicts') }}

),

final as (

    select
        md5(concat_ws('|', cast(logged_at as date), model, version, device)) as scoring_day_id,
        model,
        version,
        device,
        cast(sum(image_count) as bigint) as image_count,
        cast(sum(cached_count) as bigint) as cached_count,
        cast(sum(error_count) as bigint) as error_count,
        count(*) as query_count,
        sum(seconds) as seconds,
        sum(seconds) / 3600 * {{ var('scoring_cost_per_hour') }} as cost,
        cast(logged_at as date) as scoring_date
    from inference_log
    group by
        cast(logged_at as date),
        model,
        version,
        device

)

select * from final
