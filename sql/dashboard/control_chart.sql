-- The p-chart of each line.
select
    line_id,
    production_date,
    unit_count,
    defect_rate,
    centre,
    lower_limit,
    upper_limit,
    is_out_of_control
from kpi_control_chart
where
    production_date between $since and $until
    and ($line is null or list_contains($line, line_id))
order by
    line_id,
    production_date
