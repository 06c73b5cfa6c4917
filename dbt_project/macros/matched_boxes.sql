{# A fold over the boxes of an image, as CTEs: from the first place on, each box takes the free truth that it overlaps most
   (the last of equals), if by at least the overlap of the grid. It reads the CTEs `pairs` (prediction_id, label,
   region_number, place, truth_id, truth_number, iou) and `grid` (iou_threshold), and ends with `hits`. #}
{% macro matched_boxes() -%}
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

)
{%- endmacro %}
