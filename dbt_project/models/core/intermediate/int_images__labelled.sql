-- A reviewed region that was no defect says nothing of the rest of its image.
with

labels as (

    select
        *,
        count(*) over (partition by image_id, label) as label_count
    from {{ ref('int_labels__merged') }}
    where is_gold and not (label_source = 'review' and kind = 'box' and label = 'good')

),

final as (

    select
        image_id,
        coalesce(
            any_value(label order by label_count desc, label asc) filter (where label <> 'good'), 'good'
        ) as gold_label,
        if(count(*) filter (where label_source = 'review') > 0, 'review', 'annotation') as truth_source,
        bool_or(label <> 'good') as is_defective,
        -- Boxes can be judged where every defect has one.
        not bool_or(label <> 'good') or bool_or(kind in ('box', 'polygon') and label <> 'good') as has_boxes,
        max(annotated_at) as decided_at,
        coalesce(list_sort(list(distinct label) filter (where label <> 'good')), ['good']) as gold_labels
    from labels
    group by image_id

)

select * from final
