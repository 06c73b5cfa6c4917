with

days as (

    select * from {{ ref('agg_inspections_daily') }}

),

final as (

    select
        day_id,
        line_id,
        shift_name,
        product_type,
        unit_count,
        judged_count,
        pass_count,
        second_count,
        fail_count,
        review_count,
        first_judged_count,
        first_pass_count,
        scored_count,
        flagged_count,
        labelled_count,
        unseen_count,
        good_count,
        false_alarm_count,
        defective_count,
        escape_count,
        image_count,
        unreadable_count,
        defect_count,
        {{ share('pass_count + second_count', 'judged_count') }} as yield_share,
        {{ share('pass_count + second_count', '(judged_count + review_count)') }} as yield_pessimistic,
        {{ share('pass_count + second_count + review_count', '(judged_count + review_count)') }} as yield_optimistic,
        {{ share('review_count', '(judged_count + review_count)') }} as review_share,
        {{ share('first_pass_count', 'first_judged_count') }} as first_pass_yield,
        {{ share('flagged_count', 'scored_count') }} as defect_rate,
        {{ share('false_alarm_count', 'good_count') }} as false_positive_rate,
        {{ wilson_limit('false_alarm_count', 'good_count', '-') }} as false_positive_rate_low,
        {{ wilson_limit('false_alarm_count', 'good_count', '+') }} as false_positive_rate_high,
        {{ share('escape_count', 'defective_count') }} as escape_rate,
        {{ wilson_limit('escape_count', 'defective_count', '-') }} as escape_rate_low,
        {{ wilson_limit('escape_count', 'defective_count', '+') }} as escape_rate_high,
        {{ rate_evidence() }} as rate_evidence,
        production_date
    from days

)

select * from final
