-- How did each line do: yield, first-pass yield, defect rate, and mistakes on units that the models had not seen before?
select
    line_id as line,
    sum(unit_count)::bigint as units,
    sum(judged_count)::bigint as judged,
    sum(review_count)::bigint as in_review,
    round((sum(pass_count) + sum(second_count)) / nullif(sum(judged_count), 0), 3) as yield,
    round(sum(first_pass_count) / nullif(sum(first_judged_count), 0), 3) as first_pass_yield,
    round(sum(flagged_count) / nullif(sum(scored_count), 0), 3) as defect_rate,
    format('{} of {}', sum(false_alarm_count)::bigint, sum(good_count)::bigint) as false_positives,
    format('{} of {}', sum(escape_count)::bigint, sum(defective_count)::bigint) as escapes
from kpi_daily_quality
group by line_id
order by line_id
