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
        gold_label,
        predicted_label,
        image_count
    from cells

)

select * from final
