-- Predicted boxes on images whose boxes are all known, in the order in which they are matched.
with

images as (

    select distinct prediction_id
    from {{ ref('int_images__evaluated') }}
    where has_boxes and task in ('detect', 'segment')

),

judged as (

    select * from {{ ref('int_predictions__judged') }}

),

regions as (

    select
        judged.prediction_id,
        judged.image_id,
        unnest(judged.regions, recursive := true) -- noqa: AL03
    from judged
    inner join images on judged.prediction_id = images.prediction_id

),

final as (

    select
        prediction_id,
        image_id,
        region_number,
        label,
        confidence,
        threshold,
        x1,
        y1,
        x2,
        y2,
        row_number() over (
            partition by prediction_id, label
            order by confidence desc, region_number asc
        ) as place
    from regions

)

select * from final
