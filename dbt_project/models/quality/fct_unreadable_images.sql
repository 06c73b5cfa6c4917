with

inspections as (

    select * from {{ ref('int_inspections__judged') }}
    where error_count > 0

),

rejected_files as (

    select * from {{ ref('stg_raw__rejected_files') }}

),

failed as (

    select
        'scoring' as found_by,
        line_id,
        station_id,
        product_type,
        uri,
        error as reason,
        captured_local as seen_local,
        captured_at as seen_at
    from inspections

),

rejected as (

    select
        'ingestion' as found_by,
        cast(null as varchar) as line_id,
        cast(null as varchar) as station_id,
        cast(null as varchar) as product_type,
        uri,
        reason,
        cast(null as timestamp) as seen_local,
        seen_at
    from rejected_files

),

found as (

    select * from failed
    union all
    select * from rejected

),

final as (

    select
        md5(concat_ws('|', found_by, uri, reason)) as unreadable_id,
        found_by,
        line_id,
        station_id,
        product_type,
        uri,
        reason,
        max(seen_local) as seen_local,
        max(seen_at) as seen_at
    from found
    group by
        found_by,
        line_id,
        station_id,
        product_type,
        uri,
        reason

)

select * from final
