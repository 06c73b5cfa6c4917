-- What a look by a person is worth: the cost of the mistake that it would find, times how likely that mistake is. At the
-- threshold both mistakes cost the same on average, and the odds of a defect grow with the score: e-fold for each standard
-- deviation of the version's scores, so that neither the unit nor the offset of a score (a distance, of an anomaly) matters.
with

inspections as (

    select * from {{ ref('int_inspections__judged') }}
    where not is_reviewed and is_defective is null and (answer_count > 0 or error_count > 0)

),

challengers as (

    select
        image_id,
        any_value(predicted_label) as challenger_label
    from {{ ref('int_predictions__judged') }}
    where is_challenger and not is_champion
    group by image_id

),

spreads as (

    select
        model,
        version,
        stddev_pop(score) filter (where isfinite(score)) as score_spread
    from {{ ref('int_inspections__judged') }}
    group by
        model,
        version

),

odds as (

    select
        inspections.*,
        challengers.challenger_label,
        coalesce(challengers.challenger_label <> inspections.predicted_label, false) as is_disputed,
        -- Beyond 30 deviations it is as good as certain, and exp() would overflow.
        {{ var('overkill_cost') }} / (
            {{ var('overkill_cost') }} + {{ var('escape_cost') }} * exp(
                greatest(
                    -30, least(30, (inspections.threshold - inspections.score) / nullif(spreads.score_spread, 0))
                )
            )
        ) as defect_chance
    from inspections
    left join spreads on inspections.model = spreads.model and inspections.version = spreads.version
    left join challengers on inspections.image_id = challengers.image_id

),

valued as (

    select
        *,
        case
            when answer_count = 0 then {{ var('escape_cost') }}
            when is_flagged then {{ var('overkill_cost') }} * (1 - coalesce(defect_chance, 0.5))
            else {{ var('escape_cost') }} * coalesce(defect_chance, 0.5)
        end * if(is_disputed, 2, 1) as value,
        case
            when answer_count = 0 then 'unreadable'
            when is_disputed then 'disputed'
            when is_borderline then 'borderline'
            when is_flagged then 'flagged'
            else 'passed'
        end as reason
    from odds

),

final as (

    select
        inspection_id,
        unit_id,
        image_id,
        line_id,
        station_id,
        product_type,
        shift_name,
        model,
        version,
        reason,
        predicted_label,
        challenger_label,
        error,
        uri,
        confidence,
        score,
        threshold,
        value,
        row_number() over (
            order by value desc, captured_at desc, inspection_id asc
        ) as queue_rank,
        production_date,
        captured_local,
        captured_at
    from valued
    qualify queue_rank <= 10000

)

select * from final
