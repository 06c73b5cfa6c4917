{{ config(severity=var('gate_severity')) }}
-- The promotion gate, from stored predictions: both versions on the frozen validation rows of the challenger.
with

gate as (

    select
        metrics.model,
        metrics.metric,
        max(metrics.value) filter (where versions.is_challenger) as challenger_value,
        max(metrics.value) filter (where versions.is_champion) as champion_value
    from {{ ref('eval_metrics') }} as metrics
    inner join {{ ref('dim_model_versions') }} as versions
        on metrics.model = versions.model and metrics.version = versions.version
    where metrics.subset = 'gate' and metrics.is_primary
    group by
        metrics.model,
        metrics.metric

)

select * from gate
where challenger_value < champion_value
