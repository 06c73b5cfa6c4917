with

annotations as (

    select * from {{ source('raw', 'current_annotations') }}

),

final as (

    select
        annotation_id,
        image_id,
        label_set_id,
        uri,
        kind,
        label,
        mask_uri,
        split,
        annotator,
        x1,
        y1,
        x2,
        y2,
        polygon,
        label = 'good' as is_good,
        annotated_at
    from annotations

)

select * from final
