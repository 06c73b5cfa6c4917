{# The shares that people read, over the counts of agg_inspections_daily or their sums: the same for a day and for all days. #}
{% macro quality_shares() %}
    {{ share('pass_count + second_count', 'judged_count') }} as yield_share,
    {{ share('pass_count + second_count', '(judged_count + review_count)') }} as yield_pessimistic,
    {{ share('pass_count + second_count + review_count', '(judged_count + review_count)') }} as yield_optimistic,
    {{ share('review_count', '(judged_count + review_count)') }} as review_share,
    {{ share('first_pass_count', 'first_judged_count') }} as first_pass_yield,
    {{ share('flagged_count', 'scored_count') }} as defect_rate,
    {{ share('false_alarm_count', 'good_count') }} as false_positive_rate,
    {{ wilson_limit('false_alarm_count', 'good_count', '-') }} as false_positive_rate_low,
    {{ wilson_limit('false_alarm_count', 'good_count', '+') }} as false_positive_rate_high,
    {{ share('escape_count', 'defective_count') }} as escape_rate,
    {{ wilson_limit('escape_count', 'defective_count', '-') }} as escape_rate_low,
    {{ wilson_limit('escape_count', 'defective_count', '+') }} as escape_rate_high,
    {{ rate_evidence() }} as rate_evidence
{%- endmacro %}
