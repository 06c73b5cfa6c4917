-- Whether a threshold makes more mistakes than its limits allow, and the cheapest one within them. The same rule as
-- check_limits in models_py/metrics/operating.py, which knows it at training, on stored predictions and today's labels.
with

images as (

    select * from {{ ref('int_images__evaluated') }}
    where threshold is not null

),

what_if as (

    select * from {{ ref('eval_what_if') }}

),

counted as (

    select
        model,
        version,
        subset,
        any_value(threshold) as threshold,
        count(*) filter (where is_defective) as defective_count,
        count(*) filter (where not is_defective) as good_count,
        count(*) filter (where is_defective and score < threshold) as escape_count,
        count(*) filter (where not is_defective and score >= threshold) as overkill_count
    from images
    group by
        model,
        version,
        subset

),

points as (

    select
        *,
        {{ share('escape_count', 'defective_count') }} as escape_rate,
        {{ share('overkill_count', 'good_count') }} as overkill_rate,
        coalesce({{ share('escape_count', 'defective_count') }}, 0) <= {{ var('escape_limit') }} as has_few_escapes,
        coalesce({{ share('overkill_count', 'good_count') }}, 0) <= {{ var('overkill_limit') }} as has_few_overkills
    from counted

),

-- In the middle between two scores, so that a rounded threshold does the same.
steps as (

    select
        *,
        threshold - lag(threshold) over scores as gap,
        coalesce(
            (lag(threshold) over scores + threshold) / 2,
            threshold - (lead(threshold) over scores - threshold) / 2,
            threshold
        ) as middle,
        coalesce(escape_rate, 0) <= {{ var('escape_limit') }} as has_few_escapes,
        coalesce(overkill_rate, 0) <= {{ var('overkill_limit') }} as has_few_overkills
    from what_if
    window scores as (
        partition by model, version, subset
        order by threshold
    )

),

alternatives as (

    select
        points.model,
        points.version,
        points.subset,
        steps.middle as threshold,
        steps.escape_count,
        steps.overkill_count,
        steps.has_few_escapes
    from points
    inner join steps using (model, version, subset) -- noqa: ST07
    where
        not (points.has_few_escapes and points.has_few_overkills)
        and steps.has_few_overkills
        and (steps.has_few_escapes or not points.has_few_overkills)
    qualify row_number() over (
        partition by points.model, points.version, points.subset
        order by steps.has_few_escapes desc, steps.cost asc, steps.gap desc nulls last, steps.threshold asc
    ) = 1

),

final as (

    select
        md5(concat_ws('|', points.model, points.version, points.subset)) as operating_point_id,
        points.model,
        points.version,
        points.subset,
        points.threshold,
        points.defective_count,
        points.good_count,
        points.escape_count,
        points.overkill_count,
        points.escape_rate,
        points.overkill_rate,
        cast({{ var('escape_limit') }} as double) as escape_limit,
        cast({{ var('overkill_limit') }} as double) as overkill_limit,
        alternatives.threshold as alternative_threshold,
        alternatives.escape_count as alternative_escape_count,
        alternatives.overkill_count as alternative_overkill_count,
        points.has_few_escapes and points.has_few_overkills as is_within_limits,
        (points.has_few_escapes and points.has_few_overkills) or coalesce(alternatives.has_few_escapes, false)
            as are_limits_possible
    from points
    left join alternatives using (model, version, subset) -- noqa: ST07

)

select * from final
