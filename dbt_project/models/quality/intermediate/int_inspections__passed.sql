-- A unit that comes back later is on its next pass: a first pass is judged alone, whatever was mended afterwards.
with

inspections as (

    select * from {{ ref('int_inspections__judged') }}

),

gaps as (

    select
        inspection_id,
        unit_id,
        captured_at,
        coalesce(
            captured_at - lag(captured_at) over units > interval '{{ var("pass_gap_minutes") }} minutes', true
        ) as is_next_pass
    from inspections
    window units as (
        partition by unit_id
        order by captured_at, inspection_id
    )

),

numbered as (

    select
        inspection_id,
        unit_id,
        sum(if(is_next_pass, 1, 0)) over (
            partition by unit_id
            order by captured_at, inspection_id
            rows unbounded preceding
        ) as pass_number
    from gaps

),

final as (

    select
        inspection_id,
        unit_id,
        cast(pass_number as integer) as pass_number,
        md5(concat_ws('|', unit_id, pass_number)) as unit_pass_id
    from numbered

)

select * from final
