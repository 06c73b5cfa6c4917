with

defects as (

    select * from {{ ref('defect_log') }}

),

final as (

    select
        md5(concat_ws(
            '|', production_date, line_id, shift_name, product_type, model, version, label
        )) as defect_day_id,
        line_id,
        coalesce(shift_name, 'unknown') as shift_name,
        product_type,
        model,
        version,
        label,
        count(*) as defect_count,
        count(is_false_positive) filter (where is_unseen) as checked_count,
        count(*) filter (where is_false_positive and is_unseen) as false_positive_count,
        production_date
    from defects
    group by
        production_date,
        line_id,
        shift_name,
        product_type,
        model,
        version,
        label

)

select * from final
