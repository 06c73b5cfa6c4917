-- Population stability index of what the models and cameras give: the last days against all before them, in five bins
-- that hold a fifth of the reference each. Small samples differ by chance, so the index that chance alone gives on
-- average is beside it. What the clock of a camera dates into the future is no part of it, or it would move the window.
with

inspections as (

    select * from {{ ref('int_inspections__judged') }}

),

metadata as (

    select * from {{ ref('inspection_metadata') }}

),

observed as (

    select
        'score' as feature,
        'line' as entity_kind,
        line_id || ' ' || model as entity,
        line_id,
        score as value,
        captured_at
    from inspections
    where score is not null
    union all
    select
        'brightness' as feature,
        'camera' as entity_kind,
        coalesce(camera_id, station_id) as entity,
        line_id,
        brightness as value,
        captured_at
    from metadata
    where brightness is not null
    union all
    select
        'sharpness' as feature,
        'camera' as entity_kind,
        coalesce(camera_id, station_id) as entity,
        line_id,
        sharpness as value,
        captured_at
    from metadata
    where sharpness is not null

),

windowed as (

    select
        *,
        captured_at > max(captured_at) over (partition by feature, entity_kind, line_id)
        - interval '{{ var("drift_days") }} days' as is_recent
    from observed
    where captured_at <= now()

),

edges as (

    select
        feature,
        entity_kind,
        entity,
        line_id,
        quantile_cont(value, [0.2, 0.4, 0.6, 0.8]) as edges
    from windowed
    where not is_recent
    group by all

),

binned as (

    select
        windowed.feature,
        windowed.entity_kind,
        windowed.entity,
        windowed.line_id,
        len(list_filter(edges.edges, lambda edge: edge < windowed.value)) as bin, -- noqa: RF02
        count(*) filter (where not windowed.is_recent) as reference_count,
        count(*) filter (where windowed.is_recent) as recent_count
    from windowed
    inner join edges using (feature, entity_kind, entity, line_id) -- noqa: ST07
    group by all

),

complete as (

    select
        edges.feature,
        edges.entity_kind,
        edges.entity,
        edges.line_id,
        -- Half an image in each bin, for an empty one has no logarithm.
        coalesce(binned.reference_count, 0) + 0.5 as reference_count,
        coalesce(binned.recent_count, 0) + 0.5 as recent_count
    from edges
    cross join range(5) as bins (bin)
    left join binned
        on
            edges.feature = binned.feature
            and edges.entity_kind = binned.entity_kind
            and edges.entity = binned.entity
            and edges.line_id = binned.line_id
            and bins.bin = binned.bin

),

shares as (

    select
        *,
        reference_count / sum(reference_count) over entities as reference_share,
        recent_count / sum(recent_count) over entities as recent_share
    from complete
    window entities as (partition by feature, entity_kind, entity, line_id)

),

indexed as (

    select
        feature,
        entity_kind,
        entity,
        line_id,
        cast(round(sum(reference_count) - 2.5) as bigint) as reference_count,
        cast(round(sum(recent_count) - 2.5) as bigint) as recent_count,
        sum((recent_share - reference_share) * ln(recent_share / reference_share)) as psi
    from shares
    group by all

),

final as (

    select
        md5(concat_ws('|', feature, entity_kind, entity, line_id)) as drift_id,
        feature,
        entity_kind,
        entity,
        line_id,
        reference_count,
        recent_count,
        if(recent_count > 0, cast(psi as double), null) as psi,
        if(recent_count > 0, 4 * (1 / reference_count + 1 / recent_count), null) as psi_by_chance,
        if(recent_count > 0, psi > greatest(0.2, 10 * (1 / reference_count + 1 / recent_count)), null) as is_drifted
    from indexed

)

select * from final
