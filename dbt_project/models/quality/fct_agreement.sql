-- Where two judgements meet: an annotator's box and the champion's, two reviewers of one inspection.
with

defects as (

    select * from {{ ref('defect_log') }}
    where x1 is not null

),

annotations as (

    select * from {{ ref('int_labels__merged') }}
    where label_source = 'annotation' and kind in ('box', 'polygon') and annotator is not null

),

reviews as (

    select * from {{ ref('stg_raw__reviews') }}
    where label is not null

),

-- The model's box that an annotator's box overlaps most, of equals the surest.
met as (

    select
        annotations.annotator as inspector,
        'annotator' as inspector_role,
        'model ' || defects.model as compared_with,
        annotations.label as inspector_label,
        arg_max(
            defects.label, ({{ overlap('annotations', 'defects') }}, defects.confidence, defects.label)
        ) as other_label
    from annotations
    inner join defects
        on
            annotations.inspection_id = defects.inspection_id
            and {{ overlap('annotations', 'defects') }} >= {{ var('same_defect_overlap') }}
    group by
        annotations.label_id,
        annotations.annotator,
        annotations.label,
        defects.model

),

latest as (

    select * from reviews
    qualify row_number() over (
        partition by inspection_id, reviewer, x1, y1, x2, y2
        order by reviewed_at desc, review_id asc
    ) = 1

),

both_reviewed as (

    select
        one.reviewer as inspector,
        'reviewer' as inspector_role,
        'reviewer ' || other.reviewer as compared_with,
        one.label as inspector_label,
        other.label as other_label
    from latest as one
    inner join latest as other
        on
            one.inspection_id = other.inspection_id
            and one.reviewer <> other.reviewer
            and one.x1 is not distinct from other.x1
            and one.y1 is not distinct from other.y1
            and one.x2 is not distinct from other.x2
            and one.y2 is not distinct from other.y2

),

compared as (

    select * from met
    union all
    select * from both_reviewed

),

final as (

    select
        md5(concat_ws('|', inspector, inspector_role, compared_with, inspector_label, other_label)) as agreement_id,
        inspector,
        inspector_role,
        compared_with,
        inspector_label,
        other_label,
        count(*) as judgement_count,
        inspector_label = other_label as is_agreed
    from compared
    group by all

)

select * from final
