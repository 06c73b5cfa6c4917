-- How did each line do: yield, first-pass yield, defect rate and mistakes of the model that labels and reviews know of?
select
    line_id as line,
    sum(unit_count)::bigint as units,
    sum(judged_count)::bigint as judged,
    round((sum(pass_count) + sum(second_count)) / nullif(sum(judged_count), 0), 3) as yield,
    round(sum(first_pass_count) / nullif(sum(first_judged_count), 0), 3) as first_pass_yield,
    round(sum(flagged_count) / nullif(sum(scored_count), 0), 3) as defect_rate,
    round(sum(false_alarm_count) / nullif(sum(good_count), 0), 3) as false_positive_rate,
    round(sum(escape_count) / nullif(sum(defective_count), 0), 3) as escape_rate
from kpi_daily_quality
group by line_id
order by line_id
