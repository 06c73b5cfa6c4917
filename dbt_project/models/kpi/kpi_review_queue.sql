with

queue as (

    select * from {{ ref('fct_review_queue') }}

),

final as (

    select
        inspection_id,
        unit_id,
        image_id,
        line_id,
        station_id,
        product_type,
        shift_name,
        model,
        version,
        reason,
        predicted_label,
        challenger_label,
        error,
        uri,
        confidence,
        score,
        threshold,
        value,
        queue_rank,
        production_date,
        captured_local,
        captured_at
    from queue

)

select * from final
