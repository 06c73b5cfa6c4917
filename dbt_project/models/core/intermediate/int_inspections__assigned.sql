{{ config(materialized='view') }}
-- Which model judges which inspection: the seed's patterns against the product.
with

inspections as (

    select * from {{ ref('stg_raw__inspections') }}

),

assignments as (

    select * from {{ ref('scoring_assignments') }}

),

final as (

    select distinct
        inspections.inspection_id,
        inspections.image_id,
        assignments.model
    from inspections
    inner join assignments on inspections.product_type like assignments.product_pattern

)

select * from final
