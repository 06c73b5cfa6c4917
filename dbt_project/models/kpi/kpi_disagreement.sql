with

pairs as (

    select * from {{ ref('eval_disagreement') }}

),

final as (

    select
        disagreement_id,
        model,
        champion_version,
        challenger_version,
        champion_label,
        challenger_label,
        image_count,
        truth_count,
        champion_right_count,
        challenger_right_count,
        {{ share('champion_right_count', 'truth_count') }} as champion_verdict_accuracy,
        {{ share('challenger_right_count', 'truth_count') }} as challenger_verdict_accuracy,
        is_agreed
    from pairs

)

select * from final
