with

thresholds as (

    select * from {{ source('ml', 'thresholds') }}

),

final as (

    select
        name as model_name,
        version as model_version,
        label,
        chosen_by,
        threshold,
        valid_from
    from thresholds

)

select * from final
