-- What the champions assigned to a product say of each inspection of it; nothing where no model is assigned.
with

inspections as (

    select * from {{ ref('inspection_metadata') }}

),

assigned as (

    select * from {{ ref('int_inspections__assigned') }}

),

champions as (

    select * from {{ ref('dim_model_versions') }}
    where is_champion

),

predictions as (

    select * from {{ ref('predictions') }}

),

judged as (

    select * from {{ ref('int_predictions__judged') }}
    where is_champion

),

seen as (

    select * from {{ ref('int_images__seen') }}

),

truths as (

    select * from {{ ref('int_images__labelled') }}

),

reviews as (

    select
        inspection_id,
        max(reviewed_at) as reviewed_at
    from {{ ref('int_reviews__latest') }}
    group by inspection_id

),

asked as (

    select
        assigned.inspection_id,
        count(*) as model_count,
        any_value(champions.model order by champions.model) as model,
        any_value(champions.version order by champions.model) as version,
        count(*) filter (where predictions.error is not null) as error_count,
        any_value(predictions.error order by champions.model) as error,
        count(judged.prediction_id) as answer_count,
        bool_or(seen.image_id is not null or not champions.has_known_rows) as is_seen,
        bool_or(judged.is_flagged) as is_flagged,
        bool_or(judged.is_borderline) as is_borderline,
        any_value(judged.predicted_label order by judged.is_flagged desc, champions.model asc) as predicted_label,
        any_value(judged.score order by judged.is_flagged desc, champions.model asc) as score,
        any_value(judged.threshold order by judged.is_flagged desc, champions.model asc) as threshold,
        any_value(judged.confidence order by judged.is_flagged desc, champions.model asc) as confidence
    from assigned
    inner join champions on assigned.model = champions.model
    left join predictions
        on
            assigned.image_id = predictions.image_id
            and champions.model = predictions.model
            and champions.version = predictions.version
    left join judged on predictions.prediction_id = judged.prediction_id
    left join seen
        on
            assigned.image_id = seen.image_id
            and champions.model = seen.model
            and champions.version = seen.version
    group by assigned.inspection_id

),

final as (

    select
        inspections.inspection_id,
        inspections.unit_id,
        inspections.image_id,
        inspections.line_id,
        inspections.station_id,
        inspections.product_type,
        inspections.shift_name,
        inspections.camera_id,
        inspections.uri,
        asked.model,
        asked.version,
        asked.predicted_label,
        truths.gold_label,
        asked.error,
        asked.score,
        asked.threshold,
        asked.confidence,
        inspections.width_px * inspections.height_px as image_px,
        coalesce(asked.error_count, 0) as error_count,
        coalesce(asked.answer_count, 0) as answer_count,
        asked.is_flagged,
        coalesce(asked.is_borderline, false) as is_borderline,
        truths.is_defective,
        coalesce(asked.is_seen, false) as is_seen,
        reviews.inspection_id is not null as is_reviewed,
        inspections.production_date,
        inspections.captured_local,
        inspections.captured_at,
        reviews.reviewed_at
    from inspections
    left join asked on inspections.inspection_id = asked.inspection_id
    left join truths on inspections.image_id = truths.image_id
    left join reviews on inspections.inspection_id = reviews.inspection_id

)

select * from final
