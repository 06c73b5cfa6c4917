-- COCO's matching, for every overlap at once: from the highest confidence down, each box takes the free truth of its
-- label that it overlaps most. What is not here hit nothing.
with

regions as (

    select * from {{ ref('int_regions__evaluated') }}

),

truths as (

    select
        *,
        row_number() over (
            partition by image_id, label
            order by truth_id
        ) as truth_number
    from {{ ref('int_boxes__labelled') }}

),

grid as (

    {{ overlap_grid() }}

),

pairs as (

    select
        regions.prediction_id,
        regions.label,
        regions.region_number,
        regions.place,
        truths.truth_id,
        truths.truth_number,
        {{ overlap('regions', 'truths') }} as iou
    from regions
    inner join truths
        on
            regions.image_id = truths.image_id
            and regions.label = truths.label
            and regions.x1 < truths.x2
            and regions.x2 > truths.x1
            and regions.y1 < truths.y2
            and regions.y2 > truths.y1

),

-- Lambdas of two parameters are unknown to sqlfluff.
-- noqa: disable=PRS,RF02
{{ matched_boxes() }},

final as (

    select
        prediction_id,
        label,
        iou_threshold,
        hit.region_number,
        hit.truth_id
    from hits

)

select * from final
