create or replace macro anomalies(pattern, model := null, threshold := null) as table
    with files as materialized (
        select if(regexp_matches(file, '^(/|\.\.?/)|://'), file, './' || file) as uri
        from glob(pattern)
    ),

    scored as materialized (
        select
            uri,
            anomaly(uri, model, threshold := threshold) as found,
            predict(uri, model).error as error
        from files
    )

    select
        scored.uri,
        found.score,
        found.threshold,
        found.is_anomalous,
        scored.error
    from scored
