with

rejected_files as (

    select * from {{ source('raw', 'rejected_files') }}

),

final as (

    select
        uri,
        reason,
        seen_at
    from rejected_files

)

select * from final
