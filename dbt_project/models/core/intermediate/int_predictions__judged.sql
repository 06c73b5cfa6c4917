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
        list_transform(
            predictions.regions,
            lambda region, number: struct_pack(
                region_number := number,
                label := region.label,
                confidence := region.confidence,
                threshold := coalesce(thresholds.by_label[region.label], versions.threshold),
                x1 := region.x1,
                y1 := region.y1,
                x2 := region.x2,
                y2 := region.y2,
                area_px := coalesce(region.area, (region.x2 - region.x1) * (region.y2 - region.y1))
            )
        ) as regions_operated
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
        case
            when task in ('detect', 'segment')
                then list_filter(regions_operated, lambda region: region.confidence >= region.threshold)
            when task = 'classify' and coalesce(score >= threshold, label <> 'good')
                then list_filter(regions_operated, lambda region: region.label <> 'good')[1:1]
            when task = 'anomaly' and score >= threshold
                then [
                    struct_pack(
                        region_number := 1,
                        label := 'anomaly',
                        confidence := confidence,
                        threshold := threshold,
                        x1 := cast(null as double),
                        y1 := cast(null as double),
                        x2 := cast(null as double),
                        y2 := cast(null as double),
                        area_px := cast(null as double)
                    )
                ]
            else []
        end as defects
    from operated

),

final as (

    select
        * exclude (label, review_from, review_to),
        len(defects) > 0 as is_flagged,
        if(len(defects) > 0, list_reverse_sort(list_transform(
            defects, lambda defect: struct_pack(confidence := defect.confidence, label := defect.label)
        ))[1].label, 'good') as predicted_label,
        if(task = 'classify', regions[1].label, null) as likeliest_label,
        coalesce(if(score < threshold, score >= review_from, score <= review_to), false) as is_borderline
    from decided

)

select * from final
