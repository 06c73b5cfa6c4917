{{ config(materialized='view') }}
with

evaluated as (

    select *
    from {{ ref('int_images__evaluated') }}
    where has_boxes and task in ('detect', 'segment')

),

truths as (

    select * from {{ ref('int_boxes__labelled') }}

),

final as (

    select
        evaluated.model,
        evaluated.version,
        evaluated.subset,
        truths.label,
        count(*) as truth_count
    from evaluated
    inner join truths on evaluated.image_id = truths.image_id
    group by all

)

select * from final
