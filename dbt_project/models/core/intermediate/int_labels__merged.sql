-- Annotations and reviews side by side. A review takes the place of older annotations: one of the whole image of those
-- that say otherwise, one of a region of the boxes (of polygons too) that it overlaps, and any defect of an annotation that says good.
with

annotations as (

    select * from {{ ref('stg_raw__annotations') }}

),

inspections as (

    select
        uri,
        any_value(inspection_id order by inspection_id) as inspection_id,
        any_value(unit_id order by inspection_id) as unit_id
    from {{ ref('stg_raw__inspections') }}
    group by uri

),

reviews as (

    select * from {{ ref('int_reviews__latest') }}

),

superseded as (

    select distinct annotations.annotation_id
    from annotations
    inner join reviews
        on
            annotations.image_id = reviews.image_id
            and annotations.annotated_at <= reviews.reviewed_at
    where
        case
            when annotations.is_good then reviews.label <> 'good'
            when not reviews.has_region then reviews.label <> annotations.label
            when annotations.kind in ('box', 'polygon')
                then {{ overlap('annotations', 'reviews') }} >= {{ var('same_defect_overlap') }}
            else false
        end

),

annotated as (

    select
        annotations.annotation_id as label_id,
        annotations.image_id,
        inspections.inspection_id,
        inspections.unit_id,
        'annotation' as label_source,
        annotations.kind,
        annotations.label,
        annotations.mask_uri,
        annotations.annotator,
        annotations.x1,
        annotations.y1,
        annotations.x2,
        annotations.y2,
        annotations.polygon,
        superseded.annotation_id is null as is_gold,
        annotations.annotated_at
    from annotations
    left join inspections on annotations.uri = inspections.uri
    left join superseded on annotations.annotation_id = superseded.annotation_id

),

overruled as (

    select distinct regions.review_id
    from reviews as regions
    inner join reviews as images
        on
            regions.inspection_id = images.inspection_id
            and regions.reviewed_at < images.reviewed_at
    where regions.has_region and not images.has_region and regions.label <> images.label

),

reviewed as (

    select
        reviews.review_id as label_id,
        reviews.image_id,
        reviews.inspection_id,
        reviews.unit_id,
        'review' as label_source,
        if(reviews.has_region, 'box', 'class') as kind,
        reviews.label,
        cast(null as varchar) as mask_uri,
        reviews.reviewer as annotator,
        reviews.x1,
        reviews.y1,
        reviews.x2,
        reviews.y2,
        cast(null as double[][]) as polygon,
        overruled.review_id is null as is_gold,
        reviews.reviewed_at as annotated_at
    from reviews
    left join overruled on reviews.review_id = overruled.review_id
    where reviews.label is not null

),

final as (

    select * from annotated
    union all
    select * from reviewed

)

select * from final
