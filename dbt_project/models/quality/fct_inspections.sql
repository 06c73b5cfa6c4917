with

inspections as (

    select * from {{ ref('int_inspections__judged') }}

),

passes as (

    select * from {{ ref('int_inspections__passed') }}

),

graded as (

    select
        unit_pass_id,
        sum(defect_count) as defect_count,
        sum(area_share) as defect_area_share,
        arg_max(label, (defect_count, label)) as main_defect,
        bool_or(grade = 'fail') as has_failed,
        bool_or(grade = 'second') as has_second
    from {{ ref('int_defects__graded') }}
    group by unit_pass_id

),

units as (

    select
        passes.unit_pass_id,
        passes.unit_id,
        passes.pass_number,
        arg_max(inspections.line_id, inspections.captured_at) as line_id,
        arg_max(inspections.station_id, inspections.captured_at) as station_id,
        arg_max(inspections.product_type, inspections.captured_at) as product_type,
        arg_max(inspections.shift_name, inspections.captured_at) as shift_name,
        any_value(inspections.model order by inspections.captured_at) as model,
        any_value(inspections.version order by inspections.captured_at) as version,
        count(*) as image_count,
        count(*) filter (where inspections.error_count > 0) as unreadable_count,
        count(*) filter (where inspections.answer_count > 0) as scored_count,
        max(inspections.score) as score,
        bool_or(inspections.is_flagged) as is_flagged,
        bool_or(inspections.is_borderline and not inspections.is_reviewed) as is_borderline,
        bool_or(inspections.is_reviewed) as is_reviewed,
        -- Good needs evidence for every image; defective for one.
        case
            when bool_or(inspections.is_defective) then true
            when count(inspections.is_defective) = count(*) then false
        end as is_truly_defective,
        not bool_or(inspections.is_seen) as is_unseen,
        max(inspections.production_date) as production_date,
        max(inspections.captured_at) as inspected_at
    from inspections
    inner join passes on inspections.inspection_id = passes.inspection_id
    group by all

),

final as (

    select
        units.unit_pass_id,
        units.unit_id,
        units.line_id,
        units.station_id,
        units.product_type,
        units.shift_name,
        units.model,
        units.version,
        case
            when units.scored_count = 0 and units.unreadable_count = 0 and not units.is_reviewed then null
            when graded.has_failed and not units.is_borderline then 'fail'
            when (units.unreadable_count > 0 and not units.is_reviewed) or units.is_borderline then 'review'
            when graded.has_failed then 'fail'
            when graded.has_second then 'second'
            else 'pass'
        end as verdict,
        graded.main_defect,
        units.pass_number,
        units.image_count,
        units.unreadable_count,
        cast(coalesce(graded.defect_count, 0) as bigint) as defect_count,
        coalesce(graded.defect_area_share, 0) as defect_area_share,
        units.score,
        units.pass_number = 1 as is_first_pass,
        units.pass_number = max(units.pass_number) over (partition by units.unit_id) as is_last_pass,
        units.is_flagged,
        units.is_reviewed,
        units.is_truly_defective,
        units.is_unseen,
        units.production_date,
        units.inspected_at
    from units
    left join graded on units.unit_pass_id = graded.unit_pass_id

)

select * from final
