with

ranked as (

    select * from {{ ref('int_regions__ranked') }}

),

truth_boxes as (

    select * from {{ ref('int_boxes__counted') }}

),

grid as (

    {{ overlap_grid() }}

),

-- Labels that are true or predicted, at every overlap.
cells as (

    select
        truth_boxes.model,
        truth_boxes.version,
        truth_boxes.subset,
        truth_boxes.label,
        grid.iou_threshold
    from truth_boxes
    cross join grid
    union
    select
        model,
        version,
        subset,
        label,
        iou_threshold
    from ranked

),

-- COCO's 101 points: the best precision at any recall from there on. Only hits can be the best.
recalls as (

    select if(step = 100, 1.0, step * cast(0.01 as double)) as recall_least
    from range(101) as steps (step) -- noqa: AL05

),

points as (

    select
        ranked.model,
        ranked.version,
        ranked.subset,
        ranked.label,
        ranked.iou_threshold,
        recalls.recall_least,
        max(ranked.precision) as best_precision
    from ranked
    inner join recalls on ranked.recall >= recalls.recall_least
    where ranked.is_hit
    group by all

),

precisions as (

    select
        model,
        version,
        subset,
        label,
        iou_threshold,
        sum(best_precision) / 101 as average_precision
    from points
    group by all

),

operated as (

    select
        model,
        version,
        subset,
        label,
        iou_threshold,
        count(*) as predicted_count,
        count(*) filter (where is_hit) as hit_count
    from ranked
    where is_operated
    group by all

),

final as (

    select
        md5(concat_ws('|', cells.model, cells.version, cells.subset, cells.label, cells.iou_threshold))
            as evaluation_id,
        cells.model,
        cells.version,
        cells.subset,
        cells.label,
        cells.iou_threshold,
        coalesce(truth_boxes.truth_count, 0) as truth_count,
        coalesce(operated.predicted_count, 0) as predicted_count,
        coalesce(operated.hit_count, 0) as hit_count,
        coalesce(operated.predicted_count, 0) - coalesce(operated.hit_count, 0) as false_alarm_count,
        coalesce(truth_boxes.truth_count, 0) - coalesce(operated.hit_count, 0) as miss_count,
        if(truth_boxes.truth_count > 0, coalesce(precisions.average_precision, 0), null) as average_precision,
        {{ share('operated.hit_count', 'operated.predicted_count') }} as precision,
        {{ share('coalesce(operated.hit_count, 0)', 'truth_boxes.truth_count') }} as recall,
        {{ share(
            '2 * coalesce(operated.hit_count, 0)',
            'coalesce(operated.predicted_count, 0) + coalesce(truth_boxes.truth_count, 0)'
        ) }} as f1
    from cells
    left join truth_boxes using (model, version, subset, label) -- noqa: ST07
    left join precisions using (model, version, subset, label, iou_threshold) -- noqa: ST07
    left join operated using (model, version, subset, label, iou_threshold) -- noqa: ST07

)

select * from final
