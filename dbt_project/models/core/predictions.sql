{# What was scored stays scored, by a build or by the server: only `--vars '{rescore: true}'` asks the models again. #}
{{
    config(
        materialized='incremental',
        unique_key='prediction_id',
        incremental_strategy='delete+insert',
        on_schema_change='fail',
        full_refresh=var('rescore'),
    )
}}

with

requested as (

    select * from {{ ref('int_predictions__requested') }}

),

verdicts as (

    select * from {{ ref('int_verdicts__first') }}

),

{% if is_incremental() %}
    done as (

        select prediction_id from {{ this }}
        where error is null

    ),
{% endif %}

-- Materialised, so that the models see full batches, one version after the other.
pending as materialized (

    select requested.*
    from requested
    {% if is_incremental() %}
        anti join done on requested.prediction_id = done.prediction_id
    {% endif %}
    {% if not var('rescore') %}
        anti join verdicts on requested.prediction_id = verdicts.prediction_id
    {% endif %}
    order by requested.version_id, requested.uri

),

scored as (

    select
        *,
        predict(uri, version_id) as prediction,
        image_info(uri) as facts,
        image_error(uri) as image_error
    from pending

),

scored_here as (

    select
        prediction_id,
        image_id,
        model,
        version,
        artifact_sha256,
        task,
        prediction.label,
        coalesce(prediction.error, image_error) as error,
        prediction.confidence,
        prediction.score,
        facts.brightness,
        facts.sharpness,
        prediction.regions,
        now() as scored_at
    from scored

),

scored_by_server as (

    select
        verdicts.prediction_id,
        verdicts.image_id,
        verdicts.model,
        verdicts.version,
        verdicts.artifact_sha256,
        verdicts.task,
        verdicts.label,
        cast(null as varchar) as error,
        verdicts.confidence,
        verdicts.score,
        verdicts.brightness,
        verdicts.sharpness,
        verdicts.regions,
        verdicts.judged_at as scored_at
    from verdicts
    {% if is_incremental() %}
        anti join done on verdicts.prediction_id = done.prediction_id
    {% endif %}
    anti join pending on verdicts.prediction_id = pending.prediction_id

),

final as (

    select * from scored_here
    union all
    select * from scored_by_server

)

select * from final
