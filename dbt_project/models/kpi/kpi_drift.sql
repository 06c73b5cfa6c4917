with

features as (

    select * from {{ ref('fct_drift') }}

),

final as (

    select
        drift_id,
        feature,
        entity_kind,
        entity,
        line_id,
        reference_count,
        recent_count,
        psi,
        psi_by_chance,
        is_drifted
    from features

)

select * from final
