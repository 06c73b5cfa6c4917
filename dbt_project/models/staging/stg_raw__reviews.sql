with

reviews as (

    select * from {{ source('raw', 'reviews') }}

),

final as (

    select
        md5(concat_ws('|', inspection_id, verdict, label, reviewer, reviewed_at, x1, y1, x2, y2)) as review_id,
        inspection_id,
        model,
        version,
        verdict,
        coalesce(label, if(verdict = 'rejected', 'good', null)) as label,
        reviewer,
        x1,
        y1,
        x2,
        y2,
        x1 is not null as has_region,
        reviewed_at
    from reviews

)

select * from final
