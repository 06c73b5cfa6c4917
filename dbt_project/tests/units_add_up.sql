-- Every inspected unit is counted on one day, and has at most one of the verdicts.
with

days as (

    select
        sum(unit_count) as unit_count,
        sum(pass_count + second_count + fail_count) as verdict_count,
        sum(judged_count) as judged_count
    from {{ ref('agg_inspections_daily') }}

),

units as (

    select count(distinct unit_id) as unit_count
    from {{ ref('inspection_metadata') }}

)

select
    days.unit_count,
    units.unit_count as expected_count
from days
cross join units
where coalesce(days.unit_count, 0) <> units.unit_count or days.verdict_count <> days.judged_count
