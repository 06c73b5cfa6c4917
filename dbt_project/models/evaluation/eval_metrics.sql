-- Names and definitions are those of `duckspect evaluate`. Metrics of pixels need the images: they are those that training
-- measured on the version's validation rows, and the champion has one on the challenger's where both had the same rows.
with

images as (

    select * from {{ ref('int_images__evaluated') }}

),

detection as (

    select * from {{ ref('eval_detection') }}

),

what_if as (

    select * from {{ ref('eval_what_if') }}

),

versions as (

    select * from {{ ref('stg_ml__model_versions') }}

),

champions as (

    select
        model,
        version,
        is_champion
    from {{ ref('dim_model_versions') }}
    where is_champion or is_challenger

),

validated as (

    select
        model,
        version,
        md5(string_agg(image_id, '|' order by image_id)) as images_hash
    from {{ ref('stg_ml__version_images') }}
    where split = 'val'
    group by all

),

counts as (

    select
        model,
        version,
        subset,
        any_value(task) as task,
        count(*) as image_count,
        count(*) filter (where is_defective) as defective_count
    from images
    group by all

),

average_precisions as (

    select
        model,
        version,
        subset,
        unnest([ -- noqa: AL03
            struct_pack(metric := 'map33', value := avg(average_precision) filter (where iou_threshold = 0.33)),
            struct_pack(metric := 'map50', value := avg(average_precision) filter (where iou_threshold = 0.5)),
            struct_pack(
                metric := 'map50_95',
                value := avg(average_precision) filter (
                    where iou_threshold in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
                )
            )
        ], recursive := true)
    from detection
    group by
        model,
        version,
        subset

),

pooled as (

    select
        model,
        version,
        subset,
        cast(round(iou_threshold * 100) as integer) as percent,
        sum(hit_count) as hit_count,
        sum(predicted_count) as predicted_count,
        sum(truth_count) as truth_count
    from detection
    where iou_threshold in (0.33, 0.5)
    group by all

),

operated as (

    select
        model,
        version,
        subset,
        unnest([
            struct_pack(
                metric := 'precision' || percent,
                value := {{ share('hit_count', 'predicted_count') }}
            ),
            struct_pack(
                metric := 'recall' || percent,
                value := {{ share('hit_count', 'truth_count') }}
            ),
            struct_pack(
                metric := 'f1_' || percent,
                value := {{ share('2 * hit_count', '(predicted_count + truth_count)') }}
            )
        ], recursive := true)
    from pooled

),

-- The chance that a defective image scores above a good one, ties counting half: by the sum of ranks.
ranked as (

    select
        *,
        rank() over (
            partition by model, version, subset
            order by score
        ) + (count(*) over (partition by model, version, subset, score) - 1) / 2 as middle_rank
    from images

),

ranking as (

    select
        model,
        version,
        subset,
        'image_auroc' as metric,
        (
            sum(middle_rank) filter (where is_defective)
            - count(*) filter (where is_defective) * (count(*) filter (where is_defective) + 1) / 2
        ) / nullif(
            cast(count(*) filter (where is_defective) as double) * count(*) filter (where not is_defective), 0
        ) as value
    from ranked
    group by all

),

rates as (

    select
        model,
        version,
        subset,
        unnest([
            struct_pack(
                metric := 'escape_rate',
                value := {{ share(
                    'count(*) filter (where is_defective and not is_flagged)', 'count(*) filter (where is_defective)'
                ) }}
            ),
            struct_pack(
                metric := 'overkill_rate',
                value := {{ share(
                    'count(*) filter (where not is_defective and is_flagged)',
                    'count(*) filter (where not is_defective)'
                ) }}
            )
        ], recursive := true)
    from images
    where is_flagged is not null
    group by
        model,
        version,
        subset

),

best_f1 as (

    select
        model,
        version,
        subset,
        'f1_max' as metric,
        max({{ share(
            '2 * (defective_count - escape_count)', '(2 * defective_count - escape_count + overkill_count)'
        ) }}) as value
    from what_if
    where defective_count > 0
    group by all

),

verdicts as (

    select
        model,
        version,
        subset,
        'verdict_accuracy' as metric,
        {{ share('count(*) filter (where is_right)', 'count(*)') }} as value
    from images
    where task = 'classify' and threshold is not null
    group by all

),

-- By the likeliest class, whatever the threshold; verdict_accuracy, above, is by the verdict at the threshold.
classes as (

    select
        model,
        version,
        subset,
        {{ true_label('images.likeliest_label', 'images') }} as label,
        1 as image_count,
        0 as said_count,
        if(list_contains(gold_labels, likeliest_label), 1, 0) as hit_count
    from images
    where task = 'classify'
    union all
    select
        model,
        version,
        subset,
        likeliest_label as label,
        0 as image_count,
        1 as said_count,
        0 as hit_count
    from images
    where task = 'classify'

),

class_scores as (

    select
        model,
        version,
        subset,
        label,
        sum(image_count) as image_count,
        sum(hit_count) as hit_count,
        {{ share('2 * sum(hit_count)', '(sum(image_count) + sum(said_count))') }} as f1
    from classes
    group by all

),

classification as (

    select
        model,
        version,
        subset,
        unnest([
            struct_pack(
                metric := 'accuracy',
                value := {{ share('sum(hit_count)', 'sum(image_count)') }}
            ),
            struct_pack(metric := 'macro_f1', value := avg(f1))
        ], recursive := true)
    from class_scores
    group by
        model,
        version,
        subset

),

pixels as (

    select
        versions.model,
        versions.version,
        'validation' as subset,
        versions.gate_metric as metric,
        cast(json_extract(versions.metrics, '$.' || versions.gate_metric) as double) as value,
        validated.images_hash
    from versions
    inner join validated
        on versions.model = validated.model and versions.version = validated.version
    where versions.task = 'segment'

),

pixels_compared as (

    select
        pixels.model,
        pixels.version,
        'gate' as subset,
        pixels.metric,
        pixels.value
    from pixels
    inner join champions
        on pixels.model = champions.model and pixels.version = champions.version
    qualify
        min(pixels.images_hash) over (partition by pixels.model)
        = max(pixels.images_hash) over (partition by pixels.model)
        and bool_or(champions.is_champion) over (partition by pixels.model)

),

metrics as (

    select * from average_precisions
    union all
    select * from operated
    union all
    select * from ranking
    union all
    select * from rates
    union all
    select * from best_f1
    union all
    select * from verdicts
    union all
    select * from classification
    union all
    select * exclude (images_hash) from pixels
    where value is not null
    union all
    select * from pixels_compared
    where value is not null

),

final as (

    select
        md5(concat_ws('|', metrics.model, metrics.version, metrics.subset, metrics.metric)) as metric_id,
        metrics.model,
        metrics.version,
        counts.task,
        metrics.subset,
        metrics.metric,
        counts.image_count,
        counts.defective_count,
        metrics.value,
        metrics.metric = versions.gate_metric as is_primary
    from metrics
    inner join counts using (model, version, subset) -- noqa: ST07
    inner join versions
        on metrics.model = versions.model and metrics.version = versions.version

)

select * from final
