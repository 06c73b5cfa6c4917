with

versions as (

    select * from {{ ref('stg_ml__model_versions') }}

),

aliases as (

    select
        model,
        version,
        string_agg(alias, ', ' order by alias) filter (where is_current) as current_aliases,
        bool_or(is_current and alias = 'champion') as is_champion,
        bool_or(is_current and alias = 'challenger') as is_challenger,
        min(valid_from) filter (where alias = 'champion') as first_champion_at
    from {{ ref('stg_ml__alias_history') }}
    group by all

),

thresholds as (

    select * from {{ ref('int_thresholds__current') }}
    where label = '*'

),

bands as (

    select * from {{ ref('int_review_bands__chosen') }}

),

images as (

    select
        model,
        version,
        count(*) filter (where split = 'train') as train_image_count,
        count(*) filter (where split = 'val') as validation_image_count
    from {{ ref('stg_ml__version_images') }}
    group by all

),

final as (

    select
        versions.version_id,
        versions.model,
        versions.version,
        versions.task,
        versions.architecture,
        versions.artifact_sha256,
        versions.parent,
        versions.created_by,
        aliases.current_aliases,
        thresholds.chosen_by as threshold_chosen_by,
        bands.review_evidence,
        coalesce(thresholds.threshold, {{ default_threshold('versions.task') }}) as threshold,
        bands.wanted_review_share,
        bands.review_from,
        bands.review_to,
        bands.review_evidence_count,
        images.train_image_count,
        images.validation_image_count,
        -- An imported model has no rows here; one trained before rows were kept has rows that nobody knows.
        images.model is not null or not versions.has_frozen_rows as has_known_rows,
        coalesce(aliases.is_champion, false) as is_champion,
        coalesce(aliases.is_challenger, false) as is_challenger,
        aliases.first_champion_at,
        versions.created_at
    from versions
    left join aliases
        on versions.model = aliases.model and versions.version = aliases.version
    left join thresholds
        on versions.model = thresholds.model and versions.version = thresholds.version
    left join bands
        on versions.model = bands.model and versions.version = bands.version
    left join images
        on versions.model = images.model and versions.version = images.version

)

select * from final
