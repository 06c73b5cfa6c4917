with

defects as (

    select * from {{ ref('defect_log') }}

),

binned as (

    select
        *,
        least(cast(floor(confidence * 20) as integer), 19) as confidence_bin
    from defects

),

final as (

    select
        md5(concat_ws('|', production_date, line_id, model, version, label, confidence_bin)) as bin_day_id,
        line_id,
        model,
        version,
        label,
        confidence_bin,
        count(*) as defect_count,
        production_date
    from binned
    group by
        production_date,
        line_id,
        model,
        version,
        label,
        confidence_bin

)

select * from final
