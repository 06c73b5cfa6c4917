with

days as (

    select * from {{ ref('agg_defects_daily') }}

),

final as (

    select
        line_id,
        product_type,
        model_name,
        model_version,
        label,
        confidence_bin / 20.0e0 as confidence_from,
        (confidence_bin + 1) / 20.0e0 as confidence_to,
        cast(sum(defect_count) as bigint) as defect_count,
        production_date
    from days
    group by
        production_date,
        line_id,
        product_type,
        model_name,
        model_version,
        label,
        confidence_bin

)

select * from final
