with

thresholds as (

    select * from {{ source('ml', 'thresholds') }}

),

final as (

    select
        name as model,
        version,
        label,
        chosen_by,
        threshold,
        valid_from
    from thresholds

)

select * from final
