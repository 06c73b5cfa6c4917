select
    'unit ' || unit_id as what,
    count(distinct split) as split_count
from {{ ref('inspection_metadata') }}
group by unit_id
having count(distinct split) > 1
union all
select
    'template ' || templates.template_image_id as what,
    count(distinct splits.split) as split_count
from {{ ref('stg_raw__templates') }} as templates
inner join {{ ref('int_images__split') }} as splits on templates.image_id = splits.image_id
group by templates.template_image_id
having count(distinct splits.split) > 1
