with

days as (

    select * from {{ ref('agg_defects_daily') }}

),

final as (

    select
        line_id,
        shift_name,
        product_type,
        model,
        label,
        cast(sum(defect_count) as bigint) as defect_count,
        cast(sum(checked_count) as bigint) as checked_count,
        cast(sum(false_positive_count) as bigint) as false_positive_count,
        {{ share('sum(false_positive_count)', 'sum(checked_count)') }} as false_positive_share,
        production_date
    from days
    group by
        production_date,
        line_id,
        shift_name,
        product_type,
        model,
        label

)

select * from final
