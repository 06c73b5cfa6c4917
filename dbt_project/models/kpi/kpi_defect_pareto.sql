with

days as (

    select * from {{ ref('agg_defects_daily') }}

),

labels as (

    select
        model,
        label,
        cast(sum(defect_count) as bigint) as defect_count
    from days
    group by
        model,
        label

),

final as (

    select
        model,
        label,
        defect_count,
        {{ share('defect_count', 'sum(defect_count) over ()') }} as defect_share,
        {{ share(
            'sum(defect_count) over (order by defect_count desc, model desc, label desc rows unbounded preceding)',
            'sum(defect_count) over ()'
        ) }} as cumulative_share
    from labels

)

select * from final
