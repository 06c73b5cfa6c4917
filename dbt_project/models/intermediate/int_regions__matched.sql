-- COCO's matching, for every overlap at once: from the highest confidence down, each box takes the free truth of its
-- label that it overlaps most (the last of equals). A fold over the boxes of an image; what is not here hit nothing.
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
    from {{ ref('int_truth__boxes') }}

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

choices as (

    select
        prediction_id,
        label,
        region_number,
        place,
        list(
            struct_pack(truth_id := truth_id, iou := iou)
            order by iou desc, truth_number desc
        ) as options
    from pairs
    group by all

),

-- Lambdas of two parameters are unknown to sqlfluff.
-- noqa: disable=PRS,RF02
folded as (

    select
        choices.prediction_id,
        choices.label,
        grid.iou_threshold,
        list_reduce(
            list(
                struct_pack(
                    region_number := choices.region_number,
                    options := list_filter(
                        choices.options, lambda option: option.iou >= least(grid.iou_threshold, 1 - 1e-10)
                    ),
                    taken := cast([] as varchar []),
                    hits := cast([] as struct(region_number bigint, truth_id varchar) [])
                )
                order by choices.place
            ),
            lambda so_far, box: struct_pack(
                region_number := box.region_number,
                options := box.options,
                taken := so_far.taken || list_transform(
                    list_filter(box.options, lambda option: not list_contains(so_far.taken, option.truth_id))[1:1],
                    lambda option: option.truth_id
                ),
                hits := so_far.hits || list_transform(
                    list_filter(box.options, lambda option: not list_contains(so_far.taken, option.truth_id))[1:1],
                    lambda option: struct_pack(region_number := box.region_number, truth_id := option.truth_id)
                )
            ),
            struct_pack(
                region_number := cast(0 as bigint),
                options := cast([] as struct(truth_id varchar, iou double) []),
                taken := cast([] as varchar []),
                hits := cast([] as struct(region_number bigint, truth_id varchar) [])
            )
        ) as state
    from choices
    cross join grid
    where choices.options[1].iou >= least(grid.iou_threshold, 1 - 1e-10)
    group by all

),

hits as (

    select
        prediction_id,
        label,
        iou_threshold,
        unnest(state.hits) as hit
    from folded

),

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
