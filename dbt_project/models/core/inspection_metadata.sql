with

inspections as (

    select * from {{ ref('stg_raw__inspections') }}

),

images as (

    select * from {{ ref('stg_raw__images') }}

),

lines as (

    select * from {{ ref('dim_lines') }}

),

shifts as (

    select * from {{ ref('production_shifts') }}

),

splits as (

    select * from {{ ref('int_images__split') }}

),

facts as (

    select
        image_id,
        any_value(brightness) as brightness,
        any_value(sharpness) as sharpness
    from {{ ref('predictions') }}
    group by image_id

),

local_times as (

    select
        inspections.*,
        lines.time_zone,
        timezone(lines.time_zone, inspections.captured_at) as captured_local
    from inspections
    left join lines on coalesce(inspections.line_id, 'unknown') = lines.line_id

),

-- The shift that began last; before the day's first shift, yesterday's last one is still at work.
shifted as (

    select
        local_times.inspection_id,
        coalesce(
            arg_max(shifts.shift_name, shifts.starts_at) filter (
                where shifts.starts_at <= cast(local_times.captured_local as time)
            ),
            arg_max(shifts.shift_name, shifts.starts_at)
        ) as shift_name,
        count(*) filter (where shifts.starts_at <= cast(local_times.captured_local as time)) = 0 as is_past_midnight
    from local_times
    cross join shifts
    where local_times.captured_local is not null
    group by local_times.inspection_id

),

final as (

    select
        local_times.inspection_id,
        local_times.unit_id,
        local_times.image_id,
        coalesce(local_times.line_id, 'unknown') as line_id,
        coalesce(local_times.station_id, 'unknown') as station_id,
        coalesce(local_times.product_type, 'unknown') as product_type,
        shifted.shift_name,
        splits.split,
        local_times.uri,
        images.file_format,
        json_extract_string(local_times.attributes, '$.camera_id') as camera_id,
        try_cast(json_extract_string(local_times.attributes, '$.exposure_us') as double) as exposure_us,
        try_cast(json_extract_string(local_times.attributes, '$.gain_db') as double) as gain_db,
        cast(local_times.attributes as varchar) as attributes,
        images.width_px,
        images.height_px,
        images.channel_count,
        images.size_bytes,
        facts.brightness,
        facts.sharpness,
        cast(local_times.captured_local as date) - if(shifted.is_past_midnight, 1, 0) as production_date,
        local_times.captured_local,
        local_times.captured_at,
        local_times.ingested_at
    from local_times
    inner join images on local_times.image_id = images.image_id
    left join splits on local_times.image_id = splits.image_id
    left join shifted on local_times.inspection_id = shifted.inspection_id
    left join facts on local_times.image_id = facts.image_id

)

select * from final
