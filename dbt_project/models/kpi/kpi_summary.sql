with

days as (

    select * from {{ ref('agg_inspections_daily') }}

),

totals as (

    select
        {% for name in [
            'unit_count', 'judged_count', 'pass_count', 'second_count', 'review_count', 'first_judged_count',
            'first_pass_count', 'scored_count', 'flagged_count', 'labelled_count', 'unseen_count', 'good_count', 'false_alarm_count',
            'defective_count', 'escape_count', 'image_count', 'unreadable_count', 'defect_count'
        ] -%}
            cast(coalesce(sum({{ name }}), 0) as bigint) as {{ name }},
        {% endfor -%}
        min(production_date) as first_date,
        max(production_date) as last_date
    from days

),

final as (

    select
        unit_count,
        judged_count,
        review_count,
        labelled_count,
        unseen_count,
        good_count,
        false_alarm_count,
        defective_count,
        escape_count,
        image_count,
        unreadable_count,
        defect_count,
        {{ quality_shares() }},
        first_date,
        last_date
    from totals

)

select * from final
