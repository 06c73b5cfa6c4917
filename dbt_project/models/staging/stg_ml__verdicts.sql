with

verdicts as (

    select * from {{ source('ml', 'verdicts') }}

),

final as (

    select
        verdict_id,
        inspection_id,
        image_id,
        model,
        version,
        artifact_sha256,
        task,
        label,
        client,
        device,
        confidence,
        score,
        brightness,
        sharpness,
        seconds,
        latency_ms,
        is_cached,
        regions,
        judged_at
    from verdicts

)

select * from final
