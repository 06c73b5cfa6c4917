with

judged as (

    select * from {{ ref('int_predictions__judged') }}
    where is_champion and is_flagged

),

inspections as (

    select * from {{ ref('inspection_metadata') }}

),

truths as (

    select * from {{ ref('int_images__labelled') }}

),

truth_boxes as (

    select * from {{ ref('int_boxes__labelled') }}

),

reviews as (

    select * from {{ ref('int_reviews__latest') }}

),

versions as (

    select * from {{ ref('dim_model_versions') }}

),

seen as (

    select * from {{ ref('int_images__seen') }}

),

-- A model judges what it is assigned to, not the rows that it is only compared on.
assigned as (

    select
        assignments.inspection_id,
        judged.prediction_id,
        judged.task,
        judged.model,
        judged.version,
        judged.scored_at,
        unnest(judged.defects) as defect
    from judged
    inner join {{ ref('int_inspections__assigned') }} as assignments
        on judged.image_id = assignments.image_id and judged.model = assignments.model

),

defects as (

    select
        md5(concat_ws('|', assigned.inspection_id, assigned.prediction_id, assigned.defect.region_number)) as defect_id,
        assigned.prediction_id,
        assigned.inspection_id,
        inspections.image_id,
        inspections.unit_id,
        inspections.line_id,
        inspections.station_id,
        inspections.product_type,
        inspections.shift_name,
        inspections.camera_id,
        assigned.model,
        assigned.version,
        assigned.task,
        inspections.uri,
        assigned.scored_at,
        inspections.production_date,
        inspections.captured_local,
        inspections.captured_at,
        inspections.width_px * inspections.height_px as image_px,
        unnest(assigned.defect) -- noqa: AL03
    from assigned
    inner join inspections on assigned.inspection_id = inspections.inspection_id

),

nearest_truths as (

    select
        defects.defect_id,
        max({{ overlap('defects', 'truth_boxes') }}) as iou
    from defects
    inner join truth_boxes on defects.image_id = truth_boxes.image_id
    where defects.x1 is not null
    group by defects.defect_id

),

-- The last word on a region is that of its own review, or of a later one of the whole image.
verdicts as (

    select
        defects.defect_id,
        arg_max(reviews.verdict, reviews.reviewed_at) as review_verdict,
        arg_max(reviews.label, reviews.reviewed_at) as review_label
    from defects
    inner join reviews on defects.inspection_id = reviews.inspection_id
    where
        reviews.verdict <> 'missed'
        and (
            not reviews.has_region
            or (defects.x1 is not null and {{ overlap('defects', 'reviews') }} >= {{ var('same_defect_overlap') }})
        )
    group by defects.defect_id

),

final as (

    select
        defects.defect_id,
        defects.prediction_id,
        defects.inspection_id,
        defects.image_id,
        defects.unit_id,
        defects.line_id,
        defects.station_id,
        defects.product_type,
        defects.shift_name,
        defects.camera_id,
        defects.model,
        defects.version,
        defects.label,
        verdicts.review_verdict,
        verdicts.review_label,
        defects.uri,
        defects.confidence,
        defects.threshold,
        defects.x1,
        defects.y1,
        defects.x2,
        defects.y2,
        defects.area_px,
        defects.area_px / defects.image_px as area_share,
        coalesce(verdicts.review_label = 'good', false) as is_rejected,
        case
            when verdicts.review_label is not null then verdicts.review_label = 'good'
            when not truths.is_defective then true
            when truths.is_defective and defects.x1 is null then false
            when truths.truth_source = 'annotation' and truths.has_boxes
                then coalesce(nearest_truths.iou, 0) < {{ var('same_defect_overlap') }}
            when nearest_truths.iou >= {{ var('same_defect_overlap') }} then false
        end as is_false_positive,
        versions.has_known_rows and seen.image_id is null as is_unseen,
        defects.production_date,
        defects.captured_local,
        defects.captured_at,
        defects.scored_at
    from defects
    left join truths on defects.image_id = truths.image_id
    left join nearest_truths on defects.defect_id = nearest_truths.defect_id
    left join verdicts on defects.defect_id = verdicts.defect_id
    inner join versions on defects.model = versions.model and defects.version = versions.version
    left join seen
        on
            defects.image_id = seen.image_id
            and defects.model = seen.model
            and defects.version = seen.version

)

select * from final
