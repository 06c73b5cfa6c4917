-- Images that show one unit, or have one template in common, stay together in every split: connected components, by
-- passing the smallest name along the edges until nothing changes.
-- `using key` is unknown to sqlfluff.
with recursive -- noqa: PRS

images as (

    select image_id from {{ ref('stg_raw__images') }}

),

inspections as (

    select * from {{ ref('stg_raw__inspections') }}

),

templates as (

    select * from {{ ref('stg_raw__templates') }}

),

edges as (

    select
        image_id as one,
        'unit ' || unit_id as other
    from inspections
    union all
    select
        image_id as one,
        template_image_id as other
    from templates

),

both_ways as (

    select
        one as node,
        other as neighbour
    from edges
    union
    select
        other as node,
        one as neighbour
    from edges

),

components (node, root) using key (node) as (

    select distinct
        node,
        node as root
    from both_ways
    union
    select
        both_ways.node,
        min(neighbours.root) as root
    from both_ways
    inner join components as neighbours on both_ways.neighbour = neighbours.node
    inner join recurring.components as known on both_ways.node = known.node
    group by both_ways.node, known.root
    having min(neighbours.root) < known.root

),

final as (

    select
        images.image_id,
        coalesce(components.root, images.image_id) as group_id
    from images
    left join components on images.image_id = components.node

)

select * from final
