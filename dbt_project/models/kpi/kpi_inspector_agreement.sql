with

judgements as (

    select * from {{ ref('fct_agreement') }}

),

final as (

    select
        inspector,
        inspector_role,
        compared_with,
        inspector_label,
        cast(sum(judgement_count) as bigint) as judgement_count,
        cast(sum(case when is_agreed then judgement_count else 0 end) as bigint) as agreed_count,
        {{ share('sum(case when is_agreed then judgement_count else 0 end)', 'sum(judgement_count)') }} as agreement
    from judgements
    group by
        inspector,
        inspector_role,
        compared_with,
        inspector_label

)

select * from final
