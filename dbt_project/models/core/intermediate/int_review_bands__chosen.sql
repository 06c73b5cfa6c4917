-- The scores nearest to each version's threshold, by rank: half of the review share below it, half at and above it. Of
-- equal scores that would exceed their half none is in it, for a detector gives many images the score 0.
with

predictions as (

    select * from {{ ref('predictions') }}
    where error is null and score is not null

),

thresholds as (

    select * from {{ ref('int_thresholds__current') }}
    where label = '*'

),

shares as (

    select * from {{ ref('review_shares') }}

),

held_out as (

    select * from {{ ref('stg_ml__version_images') }}
    where split = 'val'

),

inspected as (

    select distinct image_id from {{ ref('stg_raw__inspections') }}

),

operated as (

    select
        thresholds.model,
        thresholds.version,
        thresholds.threshold,
        coalesce(own.review_share, everyone.review_share) as wanted_review_share
    from thresholds
    left join shares as own on thresholds.model = own.model
    left join shares as everyone on everyone.model = '*'

),

available as (

    select
        predictions.model,
        predictions.version,
        'validation' as evidence,
        predictions.score
    from predictions
    inner join held_out
        on
            predictions.model = held_out.model
            and predictions.version = held_out.version
            and predictions.image_id = held_out.image_id
    union all
    select
        predictions.model,
        predictions.version,
        'inspected' as evidence,
        predictions.score
    from predictions
    inner join inspected on predictions.image_id = inspected.image_id

),

counted as (

    select
        model,
        version,
        evidence,
        count(*) as evidence_count
    from available
    group by all

),

-- A rank among fewer than 20 images says little: then the larger evidence counts.
chosen as (

    select
        model,
        version,
        arg_max(
            evidence, (if(evidence = 'validation' and evidence_count >= 20, 1, 0), evidence_count, evidence)
        ) as evidence
    from counted
    group by all

),

scores as (

    select
        operated.model,
        operated.version,
        chosen.evidence,
        operated.threshold,
        operated.wanted_review_share,
        available.score,
        available.score >= operated.threshold as is_flagged,
        -- Ranks from the threshold outwards, equal scores all counted.
        count(*) over (
            partition by operated.model, operated.version, available.score >= operated.threshold
            order by abs(available.score - operated.threshold)
        ) as near_count,
        floor(
            count(*) over (partition by operated.model, operated.version) * operated.wanted_review_share / 2 + 1e-9
        ) as half_count
    from operated
    inner join chosen on operated.model = chosen.model and operated.version = chosen.version
    inner join available
        on
            chosen.model = available.model
            and chosen.version = available.version
            and chosen.evidence = available.evidence

),

final as (

    select
        model,
        version,
        evidence as review_evidence,
        any_value(threshold) as threshold,
        any_value(wanted_review_share) as wanted_review_share,
        min(score) filter (where not is_flagged and near_count <= half_count) as review_from,
        max(score) filter (where is_flagged and near_count <= half_count) as review_to,
        count(*) as review_evidence_count
    from scores
    group by
        model,
        version,
        evidence

)

select * from final
