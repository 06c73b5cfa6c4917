with

images as (

    select * from {{ ref('int_images__evaluated') }}

),

counted as (

    select
        model,
        version,
        subset,
        score as threshold,
        any_value(threshold) as operating_threshold,
        count(*) filter (where is_defective) as defective_count,
        count(*) filter (where not is_defective) as good_count
    from images
    group by
        model,
        version,
        subset,
        score

),

-- A score at the threshold rejects, as everywhere.
stepped as (

    select
        *,
        sum(defective_count) over versions as all_defective,
        sum(good_count) over versions as all_good,
        coalesce(sum(defective_count) over below, 0) as escape_count,
        sum(good_count) over versions - coalesce(sum(good_count) over below, 0) as overkill_count
    from counted
    window
        versions as (partition by model, version, subset),
        below as (
            partition by model, version, subset
            order by threshold
            rows between unbounded preceding and 1 preceding
        )

),

final as (

    select
        md5(concat_ws('|', model, version, subset, threshold)) as what_if_id,
        model,
        version,
        subset,
        threshold,
        operating_threshold,
        cast(all_defective as bigint) as defective_count,
        cast(all_good as bigint) as good_count,
        cast(escape_count as bigint) as escape_count,
        cast(overkill_count as bigint) as overkill_count,
        {{ share('escape_count', 'all_defective') }} as escape_rate,
        {{ share('overkill_count', 'all_good') }} as overkill_rate,
        cast(escape_count * {{ var('escape_cost') }} + overkill_count * {{ var('overkill_cost') }} as double) as cost
    from stepped

)

select * from final
