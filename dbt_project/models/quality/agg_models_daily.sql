with

inspections as (

    select * from {{ ref('int_inspections__judged') }}
    where model is not null

),

final as (

    select
        md5(concat_ws('|', production_date, line_id, model, version)) as model_day_id,
        line_id,
        model,
        version,
        count(*) as inspection_count,
        count(*) filter (where answer_count > 0) as scored_count,
        count(*) filter (where error_count > 0) as error_count,
        count(*) filter (where is_flagged) as flagged_count,
        count(*) filter (where answer_count > 0 and is_defective is not null) as labelled_count,
        -- Mistakes are counted on images that neither training nor the threshold saw.
        count(*) filter (where answer_count > 0 and not is_seen and is_defective) as defective_count,
        count(*) filter (where is_flagged and not is_seen and is_defective) as detected_count,
        count(*) filter (where not is_flagged and not is_borderline and not is_seen and is_defective) as escape_count,
        count(*) filter (where answer_count > 0 and not is_seen and not is_defective) as good_count,
        count(*) filter (where is_flagged and not is_seen and not is_defective) as false_alarm_count,
        avg(score) as mean_score,
        production_date
    from inspections
    group by
        production_date,
        line_id,
        model,
        version

)

select * from final
