with

defect_days as (

    select * from {{ ref('agg_defects_daily') }}

),

unit_days as (

    select * from {{ ref('agg_inspections_daily') }}

),

defects as (

    select
        line_id,
        label,
        cast(sum(defect_count) as bigint) as defect_count
    from defect_days
    group by
        line_id,
        label

),

units as (

    select
        line_id,
        cast(sum(scored_count) as bigint) as unit_count
    from unit_days
    group by line_id

),

final as (

    select
        defects.line_id,
        defects.label,
        defects.defect_count,
        units.unit_count,
        {{ share('1000 * defects.defect_count', 'units.unit_count') }} as defects_per_thousand_units
    from defects
    left join units on defects.line_id = units.line_id

)

select * from final
