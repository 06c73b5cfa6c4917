create or replace macro classifications(pattern, model := null) as table
    with files as materialized (
        select if(regexp_matches(file, '^(/|\.\.?/)|://'), file, './' || file) as uri
        from glob(pattern)
    ),

    scored as materialized (
        select
            uri,
            classify(uri, model) as found,
            predict(uri, model).error as error
        from files
    )

    select
        scored.uri,
        found.label,
        found.confidence,
        found.probabilities,
        scored.error
    from scored
