{{ config(materialized='view') }}
-- What the server was the first to say of an image; the same version says the same again.
with

verdicts as (

    select * from {{ ref('stg_ml__verdicts') }}

),

versions as (

    select * from {{ ref('stg_ml__model_versions') }}

),

final as (

    select
        md5(concat_ws('|', verdicts.image_id, versions.version_id)) as prediction_id,
        verdicts.image_id,
        verdicts.model,
        verdicts.version,
        verdicts.artifact_sha256,
        verdicts.task,
        verdicts.label,
        verdicts.confidence,
        verdicts.score,
        verdicts.brightness,
        verdicts.sharpness,
        verdicts.regions,
        verdicts.judged_at
    from verdicts
    inner join versions
        on
            verdicts.model = versions.model
            and verdicts.version = versions.version
            and verdicts.artifact_sha256 = versions.artifact_sha256
    qualify row_number() over (
        partition by verdicts.image_id, verdicts.model, verdicts.version
        order by verdicts.judged_at, verdicts.verdict_id
    ) = 1

)

select * from final
