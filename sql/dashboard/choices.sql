-- What can be filtered by.
select
    (select list(distinct line_id order by line_id) from kpi_daily_quality) as line,
    (select list(distinct product_type order by product_type) from kpi_daily_quality) as product,
    (
        select list(distinct shift_name order by shift_name) from kpi_daily_quality
        where shift_name is not null
    ) as shift,
    (select list(distinct model order by model) from kpi_daily_defects) as model,
    (select min(production_date) from kpi_daily_quality) as first_date,
    (select max(production_date) from kpi_daily_quality) as last_date
