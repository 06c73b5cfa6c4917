-- What a version may be judged on: never the images that it learned from.
with

judged as (

    select * from {{ ref('int_predictions__judged') }}

),

truths as (

    select * from {{ ref('int_images__labelled') }}

),

versions as (

    select * from {{ ref('dim_model_versions') }}

),

seen as (

    select * from {{ ref('int_images__seen') }}

),

frozen as (

    select * from {{ ref('stg_ml__version_images') }}

),

challengers as (

    select * from versions
    where is_challenger

),

subsets as (

    select
        judged.prediction_id,
        'validation' as subset
    from judged
    inner join frozen
        on
            judged.model = frozen.model
            and judged.version = frozen.version
            and judged.image_id = frozen.image_id
    where frozen.split = 'val'
    union all
    select
        judged.prediction_id,
        'unseen' as subset
    from judged
    inner join versions
        on judged.model = versions.model and judged.version = versions.version
    anti join seen
        on
            judged.model = seen.model
            and judged.version = seen.version
            and judged.image_id = seen.image_id
    where versions.has_known_rows
    union all
    select
        judged.prediction_id,
        'gate' as subset
    from judged
    inner join challengers on judged.model = challengers.model
    inner join frozen
        on
            challengers.model = frozen.model
            and challengers.version = frozen.version
            and judged.image_id = frozen.image_id
    where frozen.split = 'val' and (judged.is_champion or judged.is_challenger)

),

final as (

    select
        judged.prediction_id,
        subsets.subset,
        judged.image_id,
        judged.model,
        judged.version,
        judged.task,
        judged.predicted_label,
        judged.likeliest_label,
        truths.gold_label,
        truths.gold_labels,
        judged.score,
        judged.threshold,
        judged.is_flagged,
        truths.is_defective,
        {{ is_right('judged', 'truths') }} as is_right,
        truths.has_boxes
    from subsets
    inner join judged on subsets.prediction_id = judged.prediction_id
    inner join truths on judged.image_id = truths.image_id

)

select * from final
