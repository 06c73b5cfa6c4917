-- Of all that was said of one inspection's region, or of its whole image, the latest counts.
with

reviews as (

    select * from {{ ref('stg_raw__reviews') }}

),

inspections as (

    select
        inspection_id,
        image_id,
        unit_id
    from {{ ref('stg_raw__inspections') }}

),

final as (

    select
        reviews.review_id,
        reviews.inspection_id,
        inspections.image_id,
        inspections.unit_id,
        reviews.model,
        reviews.version,
        reviews.verdict,
        reviews.label,
        reviews.reviewer,
        reviews.x1,
        reviews.y1,
        reviews.x2,
        reviews.y2,
        reviews.has_region,
        reviews.reviewed_at
    from reviews
    inner join inspections on reviews.inspection_id = inspections.inspection_id
    qualify row_number() over (
        partition by reviews.inspection_id, reviews.x1, reviews.y1, reviews.x2, reviews.y2
        order by reviews.reviewed_at desc, reviews.review_id asc
    ) = 1

)

select * from final
