with

defects as (

    select * from {{ ref('defect_log') }}

),

final as (

    select
        defect_id,
        inspection_id,
        unit_id,
        line_id,
        station_id,
        product_type,
        shift_name,
        model,
        version,
        label,
        review_verdict,
        uri,
        confidence,
        threshold,
        x1,
        y1,
        x2,
        y2,
        is_false_positive,
        production_date,
        captured_local,
        captured_at
    from defects
    order by
        captured_at desc,
        defect_id asc
    limit 500

)

select * from final
