with

days as (

    select * from {{ ref('agg_confidence_daily') }}

),

final as (

    select
        bin_day_id,
        line_id,
        model,
        version,
        label,
        confidence_bin / 20.0e0 as confidence_from,
        (confidence_bin + 1) / 20.0e0 as confidence_to,
        defect_count,
        production_date
    from days

)

select * from final
