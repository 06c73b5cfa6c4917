-- Where the labels and reviews that hold say that there is a defect: boxes, and the bounds of polygons.
with

labels as (

    select * from {{ ref('int_labels__merged') }}

),

final as (

    select
        label_id as truth_id,
        image_id,
        label_source,
        label,
        annotator,
        x1,
        y1,
        x2,
        y2
    from labels
    where is_gold and kind in ('box', 'polygon') and label <> 'good'

)

select * from final
