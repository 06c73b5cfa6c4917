with

champions as (

    select * from {{ ref('int_predictions__judged') }}
    where is_champion

),

challengers as (

    select * from {{ ref('int_predictions__judged') }}
    where is_challenger and not is_champion

),

truths as (

    select * from {{ ref('int_images__labelled') }}

),

final as (

    select
        md5(concat_ws(
            '|', champions.model, champions.version, challengers.version,
            champions.predicted_label, challengers.predicted_label
        )) as disagreement_id,
        champions.model,
        champions.version as champion_version,
        challengers.version as challenger_version,
        champions.predicted_label as champion_label,
        challengers.predicted_label as challenger_label,
        count(*) as image_count,
        count(truths.image_id) as truth_count,
        count(*) filter (where {{ is_right('champions', 'truths') }}) as champion_right_count,
        count(*) filter (where {{ is_right('challengers', 'truths') }}) as challenger_right_count,
        champions.predicted_label = challengers.predicted_label as is_agreed
    from champions
    inner join challengers
        on champions.model = challengers.model and champions.image_id = challengers.image_id
    left join truths on champions.image_id = truths.image_id
    where champions.predicted_label is not null and challengers.predicted_label is not null
    group by all

)

select * from final
