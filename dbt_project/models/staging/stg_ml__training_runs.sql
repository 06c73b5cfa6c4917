with

training_runs as (

    select * from {{ source('ml', 'training_runs') }}

),

final as (

    select
        run_id,
        name as model,
        version,
        task,
        architecture,
        status,
        error,
        device,
        started_at,
        finished_at
    from training_runs

)

select * from final
