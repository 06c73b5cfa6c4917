-- The same, day by day.
select
    production_date,
    sum(unit_count) as unit_count,
    sum(judged_count) as judged_count,
    sum(image_count) as image_count,
    sum(unreadable_count) as unreadable_count,
    (sum(pass_count) + sum(second_count)) / nullif(sum(judged_count), 0) as yield_share,
    sum(first_pass_count) / nullif(sum(first_judged_count), 0) as first_pass_yield,
    sum(flagged_count) / nullif(sum(scored_count), 0) as defect_rate,
    sum(false_alarm_count) / nullif(sum(good_count), 0) as false_positive_rate,
    sum(escape_count) / nullif(sum(defective_count), 0) as escape_rate
from kpi_daily_quality
where
    production_date between $since and $until
    and ($line is null or list_contains($line, line_id))
    and ($product is null or list_contains($product, product_type))
    and ($shift is null or list_contains($shift, shift_name))
group by production_date
order by production_date
