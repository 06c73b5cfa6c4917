-- A published split holds for the whole group; if a group was published in several, the one that must stay unseen wins.
with

images as (

    select * from {{ ref('int_images__grouped') }}

),

annotations as (

    select * from {{ ref('stg_raw__annotations') }}

),

published as (

    select
        images.group_id,
        min(
            case annotations.split when 'test' then 1 when 'val' then 2 when 'train' then 3 end
        ) as rank_of_split
    from annotations
    inner join images on annotations.image_id = images.image_id
    where annotations.split is not null
    group by images.group_id

),

buckets as (

    select
        image_id,
        group_id,
        md5_number(group_id) % 100 as bucket
    from images

),

final as (

    select
        buckets.image_id,
        buckets.group_id,
        case
            when published.rank_of_split is not null
                then case published.rank_of_split when 1 then 'test' when 2 then 'val' else 'train' end
            when buckets.bucket < {{ var('test_percent') }} then 'test'
            when buckets.bucket < {{ var('test_percent') + var('validation_percent') }} then 'val'
            else 'train'
        end as split
    from buckets
    left join published on buckets.group_id = published.group_id

)

select * from final
