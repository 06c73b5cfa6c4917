with

thresholds as (

    select * from {{ ref('stg_ml__thresholds') }}

),

final as (

    select
        model,
        version,
        label,
        chosen_by,
        threshold,
        valid_from
    from thresholds
    qualify row_number() over (
        partition by model, version, label
        order by valid_from desc, threshold desc
    ) = 1

)

select * from final
