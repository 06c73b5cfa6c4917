-- A p-chart: three standard deviations around the share that a line has over all its days.
with

days as (

    select * from {{ ref('agg_inspections_daily') }}

),

line_days as (

    select
        line_id,
        production_date,
        cast(sum(scored_count) as bigint) as unit_count,
        cast(sum(flagged_count) as bigint) as flagged_count
    from days
    group by
        line_id,
        production_date

),

centred as (

    select
        line_id,
        production_date,
        unit_count,
        flagged_count,
        {{ share('flagged_count', 'unit_count') }} as defect_rate,
        {{ share(
            'sum(flagged_count) over (partition by line_id)', 'sum(unit_count) over (partition by line_id)'
        ) }} as centre
    from line_days

),

limited as (

    select
        line_id,
        production_date,
        unit_count,
        flagged_count,
        defect_rate,
        centre,
        3 * sqrt(centre * (1 - centre) / nullif(unit_count, 0)) as reach
    from centred

),

final as (

    select
        line_id,
        unit_count,
        flagged_count,
        defect_rate,
        centre,
        case when centre - reach > 0 then centre - reach when reach is not null then 0.0e0 end as lower_limit,
        case when centre + reach < 1 then centre + reach when reach is not null then 1.0e0 end as upper_limit,
        defect_rate > centre + reach or defect_rate < centre - reach as is_out_of_control,
        production_date
    from limited

)

select * from final
