with

described as (

    select * from {{ ref('production_lines') }}

),

inspections as (

    select * from {{ ref('stg_raw__inspections') }}

),

seen as (

    select
        coalesce(line_id, 'unknown') as line_id,
        count(*) as inspection_count,
        min(captured_at) as first_seen_at,
        max(captured_at) as last_seen_at
    from inspections
    group by all

),

final as (

    select
        coalesce(seen.line_id, described.line_id) as line_id,
        coalesce(described.line_name, seen.line_id) as line_name,
        coalesce(described.site, 'unknown') as site,
        coalesce(described.time_zone, '{{ var("default_time_zone") }}') as time_zone,
        coalesce(seen.inspection_count, 0) as inspection_count,
        seen.first_seen_at,
        seen.last_seen_at
    from seen
    full outer join described on seen.line_id = described.line_id

)

select * from final
