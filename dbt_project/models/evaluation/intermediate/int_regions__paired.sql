-- Boxes at or above their threshold beside the labelled ones, whatever the classes: from the highest confidence down, each
-- takes the free truth that it overlaps most, of equals one of its class. What is left over on one side is `good` on the other.
with

images as (

    select distinct
        prediction_id,
        image_id
    from {{ ref('int_images__evaluated') }}
    where has_boxes and task in ('detect', 'segment')

),

regions as (

    select
        *,
        row_number() over (
            partition by prediction_id
            order by confidence desc, region_number asc
        ) as place_in_image
    from {{ ref('int_regions__evaluated') }}
    where confidence >= threshold

),

truths as (

    select * from {{ ref('int_boxes__labelled') }}

),

grid as (

    select cast({{ var('same_defect_overlap') }} as double) as iou_threshold

),

pairs as (

    select
        regions.prediction_id,
        'any' as label,
        regions.region_number,
        regions.place_in_image as place,
        truths.truth_id,
        row_number() over (
            partition by regions.prediction_id, regions.region_number
            order by regions.label = truths.label, truths.truth_id
        ) as truth_number,
        {{ overlap('regions', 'truths') }} as iou
    from regions
    inner join truths
        on
            regions.image_id = truths.image_id
            and regions.x1 < truths.x2
            and regions.x2 > truths.x1
            and regions.y1 < truths.y2
            and regions.y2 > truths.y1

),

-- Lambdas of two parameters are unknown to sqlfluff.
-- noqa: disable=PRS,RF02
{{ matched_boxes() }},

found as (

    select
        regions.prediction_id,
        hits.hit.truth_id,
        coalesce(truths.label, 'good') as true_label,
        regions.label as predicted_label,
        regions.region_number
    from regions
    left join hits
        on regions.prediction_id = hits.prediction_id and regions.region_number = hits.hit.region_number
    left join truths on hits.hit.truth_id = truths.truth_id

),

missed as (

    select
        images.prediction_id,
        truths.truth_id,
        truths.label as true_label,
        'good' as predicted_label,
        cast(null as bigint) as region_number
    from images
    inner join truths on images.image_id = truths.image_id
    anti join found on images.prediction_id = found.prediction_id and truths.truth_id = found.truth_id

),

final as (

    select
        md5(concat_ws('|', prediction_id, coalesce(region_number, 0), coalesce(truth_id, ''))) as pair_id,
        *
    from (
        select * from found
        union all
        select * from missed
    ) as paired

)

select * from final
