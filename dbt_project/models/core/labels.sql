with

labels as (

    select * from {{ ref('int_labels__merged') }}

),

truths as (

    select * from {{ ref('int_images__labelled') }}

),

splits as (

    select * from {{ ref('int_images__split') }}

),

final as (

    select
        labels.label_id,
        labels.image_id,
        labels.inspection_id,
        labels.unit_id,
        splits.group_id,
        labels.label_source,
        labels.kind,
        labels.label,
        truths.gold_label,
        splits.split,
        labels.mask_uri,
        labels.annotator,
        labels.x1,
        labels.y1,
        labels.x2,
        labels.y2,
        labels.polygon,
        labels.is_gold,
        labels.annotated_at
    from labels
    left join truths on labels.image_id = truths.image_id
    left join splits on labels.image_id = splits.image_id

)

select * from final
