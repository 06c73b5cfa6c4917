with

days as (

    select * from {{ ref('agg_models_daily') }}

),

final as (

    select
        model_day_id,
        line_id,
        model,
        version,
        inspection_count,
        scored_count,
        error_count,
        flagged_count,
        labelled_count,
        defective_count,
        detected_count,
        escape_count,
        good_count,
        false_alarm_count,
        mean_score,
        {{ share('error_count', 'inspection_count') }} as error_rate,
        {{ share('escape_count', 'defective_count') }} as escape_rate,
        {{ share('false_alarm_count', 'good_count') }} as false_positive_rate,
        {{ share('detected_count', '(detected_count + false_alarm_count)') }} as image_precision,
        {{ share('detected_count', 'defective_count') }} as image_recall,
        production_date
    from days

)

select * from final
