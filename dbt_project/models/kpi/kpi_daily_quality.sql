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
        {{ quality_shares() }},
        production_date
    from days

)

select * from final
