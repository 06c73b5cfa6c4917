with

images as (

    select * from {{ ref('int_images__evaluated') }}

),

final as (

    select
        md5(concat_ws('|', model, version, subset, gold_label, predicted_label)) as confusion_id,
        model,
        version,
        subset,
        gold_label,
        predicted_label,
        count(*) as image_count
    from images
    group by all

)

select * from final
