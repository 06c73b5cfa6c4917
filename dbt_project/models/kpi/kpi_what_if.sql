with

thresholds as (

    select * from {{ ref('eval_what_if') }}

),

final as (

    select
        what_if_id,
        model,
        version,
        subset,
        threshold,
        operating_threshold,
        defective_count,
        good_count,
        escape_count,
        overkill_count,
        escape_rate,
        overkill_rate,
        cost
    from thresholds

)

select * from final
