-- For each pass and class of defect, whether its number and area are within the product's rules. The rule for the class
-- goes before the one for all, the longer product pattern before the shorter; no rule allows nothing.
with

defects as (

    select
        inspection_id,
        coalesce(review_label, label) as label,
        coalesce(area_px, 0) as area_px
    from {{ ref('defect_log') }}
    where not is_rejected

),

missed as (

    select
        inspection_id,
        label,
        coalesce((x2 - x1) * (y2 - y1), 0) as area_px
    from {{ ref('int_reviews__latest') }}
    where verdict = 'missed' and label <> 'good'

),

inspections as (

    select * from {{ ref('int_inspections__judged') }}

),

passes as (

    select * from {{ ref('int_inspections__passed') }}

),

rules as (

    select * from {{ ref('grading_rules') }}

),

found as (

    select * from defects
    union all
    select * from missed

),

pixels as (

    select
        passes.unit_pass_id,
        any_value(inspections.product_type) as product_type,
        sum(inspections.image_px) as image_px
    from passes
    inner join inspections on passes.inspection_id = inspections.inspection_id
    group by passes.unit_pass_id

),

counted as (

    select
        passes.unit_pass_id,
        pixels.product_type,
        found.label,
        count(*) as defect_count,
        sum(found.area_px) / any_value(pixels.image_px) as area_share
    from found
    inner join passes on found.inspection_id = passes.inspection_id
    inner join pixels on passes.unit_pass_id = pixels.unit_pass_id
    group by
        passes.unit_pass_id,
        pixels.product_type,
        found.label

),

kinds as (

    select distinct
        product_type,
        label
    from counted

),

chosen as (

    select
        kinds.product_type,
        kinds.label,
        rules.grade,
        rules.max_count,
        rules.max_area_share
    from kinds
    inner join rules
        on kinds.product_type like rules.product_pattern and rules.defect_class in (kinds.label, '*')
    qualify row_number() over (
        partition by kinds.product_type, kinds.label, rules.grade
        order by rules.defect_class = '*' asc, length(rules.product_pattern) desc, rules.product_pattern asc
    ) = 1

),

held as (

    select
        counted.unit_pass_id,
        counted.label,
        counted.defect_count,
        counted.area_share,
        chosen.grade,
        counted.defect_count <= chosen.max_count and counted.area_share <= chosen.max_area_share as is_within
    from counted
    left join chosen on counted.product_type = chosen.product_type and counted.label = chosen.label

),

final as (

    select
        unit_pass_id,
        label,
        any_value(defect_count) as defect_count,
        any_value(area_share) as area_share,
        case
            when bool_or(is_within and grade = 'pass') then 'pass'
            when bool_or(is_within and grade = 'second') then 'second'
            else 'fail'
        end as grade
    from held
    group by
        unit_pass_id,
        label

)

select * from final
