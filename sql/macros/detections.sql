create or replace macro detections(pattern, model := null, threshold := null) as table
    with files as materialized (
        select if(regexp_matches(file, '^(/|\.\.?/)|://'), file, './' || file) as uri
        from glob(pattern)
    ),

    scored as materialized (
        select
            uri,
            detect(uri, model, threshold := threshold) as found,
            predict(uri, model).error as error
        from files
    ),

    listed as (
        select
            uri,
            error,
            unnest(if(error is null, found, [null])) as region
        from scored
    )

    select
        listed.uri,
        listed.region.label,
        listed.region.confidence,
        listed.region.x1,
        listed.region.y1,
        listed.region.x2,
        listed.region.y2,
        listed.error
    from listed
