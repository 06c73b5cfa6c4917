with

days as (

    select * from {{ ref('agg_inspections_daily') }}

),

final as (

    select
        cast(coalesce(sum(unit_count), 0) as bigint) as unit_count,
        cast(coalesce(sum(judged_count), 0) as bigint) as judged_count,
        cast(coalesce(sum(review_count), 0) as bigint) as review_count,
        cast(coalesce(sum(image_count), 0) as bigint) as image_count,
        cast(coalesce(sum(unreadable_count), 0) as bigint) as unreadable_count,
        cast(coalesce(sum(defect_count), 0) as bigint) as defect_count,
        {{ share('sum(pass_count) + sum(second_count)', 'sum(judged_count)') }} as yield_share,
        {{ share('sum(first_pass_count)', 'sum(first_judged_count)') }} as first_pass_yield,
        {{ share('sum(flagged_count)', 'sum(scored_count)') }} as defect_rate,
        {{ share('sum(false_alarm_count)', 'sum(good_count)') }} as false_positive_rate,
        {{ share('sum(escape_count)', 'sum(defective_count)') }} as escape_rate,
        min(production_date) as first_date,
        max(production_date) as last_date
    from days

)

select * from final
