with

metrics as (

    select * from {{ ref('eval_metrics') }}

),

final as (

    select
        metric_id,
        model,
        version,
        task,
        subset,
        metric,
        image_count,
        defective_count,
        value,
        is_primary
    from metrics

)

select * from final
