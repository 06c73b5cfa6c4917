with

alias_history as (

    select * from {{ source('ml', 'alias_history') }}

),

final as (

    select
        md5(concat_ws('|', name, alias, version, valid_from)) as alias_period_id,
        name as model,
        alias,
        version,
        changed_by,
        reason,
        valid_to is null as is_current,
        valid_from,
        valid_to
    from alias_history

)

select * from final
