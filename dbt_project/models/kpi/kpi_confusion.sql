with

cells as (

    select * from {{ ref('eval_confusion') }}

),

final as (

    select
        confusion_id,
        model,
        version,
        subset,
        counted,
        true_label,
        predicted_label,
        image_count,
        box_count
    from cells

)

select * from final
