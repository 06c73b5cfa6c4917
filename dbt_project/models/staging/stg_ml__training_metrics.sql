with

training_metrics as (

    select * from {{ source('ml', 'training_metrics') }}

),

final as (

    select
        run_id,
        epoch,
        metric,
        value,
        measured_at
    from training_metrics

)

select * from final
