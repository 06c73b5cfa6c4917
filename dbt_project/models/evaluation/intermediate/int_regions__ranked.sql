-- Boxes of a version from the most to the least confident, with what precision and recall would be up to each.
with

evaluated as (

    select *
    from {{ ref('int_images__evaluated') }}
    where has_boxes and task in ('detect', 'segment')

),

regions as (

    select * from {{ ref('int_regions__evaluated') }}
    where place <= 100 -- as COCO

),

matched as (

    select * from {{ ref('int_regions__matched') }}

),

grid as (

    {{ overlap_grid() }}

),

truth_boxes as (

    select * from {{ ref('int_boxes__counted') }}

),

ranked as (

    select
        evaluated.model,
        evaluated.version,
        evaluated.subset,
        regions.label,
        grid.iou_threshold,
        regions.confidence,
        coalesce(regions.confidence >= regions.threshold, false) as is_operated,
        matched.truth_id is not null as is_hit,
        row_number() over best_first as region_rank,
        count(matched.truth_id) over best_first as hit_count
    from evaluated
    inner join regions on evaluated.prediction_id = regions.prediction_id
    cross join grid
    left join matched
        on
            regions.prediction_id = matched.prediction_id
            and regions.region_number = matched.region_number
            and grid.iou_threshold = matched.iou_threshold
    window best_first as (
        partition by
            evaluated.model, evaluated.version, evaluated.subset, regions.label, grid.iou_threshold
        order by regions.confidence desc, evaluated.image_id asc, regions.region_number asc
        rows unbounded preceding
    )

),

final as (

    select
        ranked.*,
        coalesce(truth_boxes.truth_count, 0) as truth_count,
        ranked.hit_count / ranked.region_rank as precision,
        ranked.hit_count / truth_boxes.truth_count as recall
    from ranked
    left join truth_boxes
        on
            ranked.model = truth_boxes.model
            and ranked.version = truth_boxes.version
            and ranked.subset = truth_boxes.subset
            and ranked.label = truth_boxes.label

)

select * from final
