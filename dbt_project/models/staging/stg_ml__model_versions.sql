with

model_versions as (

    select * from {{ source('ml', 'model_versions') }}

),

final as (

    select
        name || '@' || version as version_id,
        name as model,
        version,
        task,
        architecture,
        artifact_sha256,
        gate_metric,
        parent,
        created_by,
        labels,
        metrics,
        snapshot_sha256 is not null as has_frozen_rows,
        created_at
    from model_versions

)

select * from final
