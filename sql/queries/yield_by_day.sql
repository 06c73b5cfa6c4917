-- What share of the boards passes, day by day? Clean boards count as well as defective ones.
with judged as (
    select
        captured_at::date as day,
        len(detect(uri, 'pcb')) = 0 as is_clean
    from raw.inspections
    where product_type like 'PCB-%'
)

select
    day,
    count(*) as boards,
    round(avg(is_clean::integer), 3) as share_passed
from judged
where is_clean is not null
group by day
order by day
