{{ config(materialized='view') }}
-- Today's thresholds on stored predictions: a new operating point needs no new scoring.
with

predictions as (

    select * from {{ ref('predictions') }}
    where error is null

),

versions as (

    select * from {{ ref('dim_model_versions') }}

),

thresholds as (

    select
        model,
        version,
        map_from_entries(list(struct_pack(label := label, threshold := threshold))) as by_label
    from {{ ref('int_thresholds__current') }}
    group by all

),

-- Lambdas of two parameters are unknown to sqlfluff.
-- noqa: disable=PRS,RF02
operated as (

    select
        predictions.*,
        versions.is_champion,
        versions.is_challenger,
        versions.threshold,
        versions.review_from,
        versions.review_to,
        {{ operated_regions('predictions.regions', 'thresholds.by_label', 'versions.threshold') }} as regions_operated
    from predictions
    inner join versions
        on predictions.model = versions.model and predictions.version = versions.version
    left join thresholds
        on predictions.model = thresholds.model and predictions.version = thresholds.version

),

decided as (

    select
        * exclude (regions, regions_operated),
        regions_operated as regions,
        {{ defects('task', 'score', 'confidence', 'threshold', 'regions_operated') }} as defects
    from operated

),

final as (

    select
        * exclude (label, review_from, review_to),
        len(defects) > 0 as is_flagged,
        {{ verdict_label('defects') }} as predicted_label,
        if(task = 'classify', regions[1].label, null) as likeliest_label,
        -- What the model cannot decide goes to a person, too.
        defects is null or coalesce(if(score < threshold, score >= review_from, score <= review_to), false)
            as is_borderline
    from decided

)

select * from final
