with

inspections as (

    select * from {{ ref('inspection_metadata') }}

),

span as (

    select
        min(production_date) as first_date,
        max(production_date) as last_date
    from inspections

),

dates as (

    select cast(unnest(generate_series(first_date, last_date, interval 1 day)) as date) as production_date
    from span

),

final as (

    select
        production_date,
        strftime(production_date, '%Y') || '-Q' || quarter(production_date) as year_quarter,
        strftime(production_date, '%Y-%m') as year_month,
        strftime(production_date, '%G-W%V') as iso_year_week,
        monthname(production_date) as month_name,
        dayname(production_date) as weekday_name,
        cast(year(production_date) as integer) as year,
        cast(quarter(production_date) as integer) as quarter,
        cast(month(production_date) as integer) as month,
        cast(day(production_date) as integer) as day_of_month,
        cast(dayofyear(production_date) as integer) as day_of_year,
        cast(isoyear(production_date) as integer) as iso_year,
        cast(week(production_date) as integer) as iso_week,
        cast(isodow(production_date) as integer) as iso_weekday,
        isodow(production_date) >= 6 as is_weekend,
        cast(date_trunc('month', production_date) as date) as month_start,
        cast(date_trunc('week', production_date) as date) as week_start
    from dates

)

select * from final
