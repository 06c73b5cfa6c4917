{{ config(materialized='view') }}
-- Every inspected image by the champion of its product; and by champion and challenger, the rows that both are compared on.
with

aliases as (

    select *
    from {{ ref('stg_ml__alias_history') }}
    where is_current and alias in ('champion', 'challenger')

),

versions as (

    select * from {{ ref('stg_ml__model_versions') }}

),

assigned as (

    select * from {{ ref('int_inspections__assigned') }}

),

inspections as (

    select * from {{ ref('stg_raw__inspections') }}

),

images as (

    select * from {{ ref('stg_raw__images') }}

),

version_images as (

    select *
    from {{ ref('stg_ml__version_images') }}
    where split = 'val'

),

inspected as (

    select
        assigned.image_id,
        aliases.model,
        aliases.version
    from assigned
    inner join aliases on assigned.model = aliases.model
    where aliases.alias = 'champion'

),

compared as (

    select
        version_images.image_id,
        judged.model,
        judged.version
    from aliases as candidates
    inner join version_images
        on
            candidates.model = version_images.model
            and candidates.version = version_images.version
    inner join aliases as judged on candidates.model = judged.model

),

requested as (

    select * from inspected
    union
    select * from compared

),

latest_uris as (

    select
        image_id,
        arg_max(uri, (ingested_at, uri)) as uri
    from inspections
    group by image_id

),

final as (

    select
        md5(concat_ws('|', requested.image_id, versions.version_id)) as prediction_id,
        requested.image_id,
        requested.model,
        requested.version,
        versions.version_id,
        versions.task,
        versions.artifact_sha256,
        coalesce(latest_uris.uri, images.uri) as uri
    from requested
    inner join images on requested.image_id = images.image_id
    inner join versions
        on
            requested.model = versions.model
            and requested.version = versions.version
    left join latest_uris on requested.image_id = latest_uris.image_id
    -- An upload that the server did not keep has a name that cannot be opened.
    where not starts_with(coalesce(latest_uris.uri, images.uri), 'urn:')

)

select * from final
