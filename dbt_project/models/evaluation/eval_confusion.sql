-- A detector or segmenter whose truth has boxes is judged by boxes: an image may have several classes. Else images are
-- counted, once each.
with

images as (

    select * from {{ ref('int_images__evaluated') }}

),

boxes as (

    select * from {{ ref('int_regions__paired') }}

),

subsets as (

    select
        model,
        version,
        subset,
        if(
            bool_or(task in ('detect', 'segment') and is_defective and has_boxes), 'box', 'image'
        ) as counted
    from images
    group by
        model,
        version,
        subset

),

pairs as (

    select
        images.model,
        images.version,
        images.subset,
        subsets.counted,
        {{ true_label('images.predicted_label', 'images') }} as true_label,
        images.predicted_label
    from images
    inner join subsets using (model, version, subset) -- noqa: ST07
    where subsets.counted = 'image' and images.predicted_label is not null
    union all
    select
        images.model,
        images.version,
        images.subset,
        subsets.counted,
        boxes.true_label,
        boxes.predicted_label
    from images
    inner join subsets using (model, version, subset) -- noqa: ST07
    inner join boxes on images.prediction_id = boxes.prediction_id
    where subsets.counted = 'box'

),

final as (

    select
        md5(concat_ws('|', model, version, subset, true_label, predicted_label)) as confusion_id,
        model,
        version,
        subset,
        counted,
        true_label,
        predicted_label,
        if(counted = 'image', count(*), null) as image_count,
        if(counted = 'box', count(*), null) as box_count
    from pairs
    group by
        model,
        version,
        subset,
        counted,
        true_label,
        predicted_label

)

select * from final
