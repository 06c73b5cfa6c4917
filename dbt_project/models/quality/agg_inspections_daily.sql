with

inspections as (

    select * from {{ ref('fct_inspections') }}

),

final as (

    select
        md5(concat_ws('|', production_date, line_id, shift_name, product_type)) as day_id,
        line_id,
        coalesce(shift_name, 'unknown') as shift_name,
        product_type,
        count(*) filter (where is_last_pass) as unit_count,
        count(*) filter (where is_last_pass and verdict in ('pass', 'second', 'fail')) as judged_count,
        count(*) filter (where is_last_pass and verdict = 'pass') as pass_count,
        count(*) filter (where is_last_pass and verdict = 'second') as second_count,
        count(*) filter (where is_last_pass and verdict = 'fail') as fail_count,
        count(*) filter (where is_last_pass and verdict = 'review') as review_count,
        count(*) filter (where is_first_pass and verdict in ('pass', 'second', 'fail')) as first_judged_count,
        count(*) filter (where is_first_pass and verdict = 'pass') as first_pass_count,
        count(*) filter (where is_last_pass and is_flagged is not null) as scored_count,
        count(*) filter (where is_last_pass and is_flagged) as flagged_count,
        count(*) filter (
            where is_last_pass and is_flagged is not null and is_truly_defective is not null
        ) as labelled_count,
        count(*) filter (
            where is_last_pass and is_unseen and is_flagged is not null and is_truly_defective is not null
        ) as unseen_count,
        -- Mistakes are counted on units that neither training nor the threshold saw; what waits for a person has not passed.
        count(*) filter (
            where is_last_pass and is_unseen and is_flagged is not null and not is_truly_defective
        ) as good_count,
        count(*) filter (
            where is_last_pass and is_unseen and is_flagged and not is_truly_defective
        ) as false_alarm_count,
        count(*) filter (
            where is_last_pass and is_unseen and is_flagged is not null and is_truly_defective and verdict <> 'review'
        ) as defective_count,
        count(*) filter (
            where is_last_pass and is_unseen and is_flagged is not null and is_truly_defective and verdict = 'pass'
        ) as escape_count,
        cast(sum(image_count) as bigint) as image_count,
        cast(sum(unreadable_count) as bigint) as unreadable_count,
        cast(sum(defect_count) as bigint) as defect_count,
        production_date
    from inspections
    group by
        production_date,
        line_id,
        shift_name,
        product_type

)

select * from final
