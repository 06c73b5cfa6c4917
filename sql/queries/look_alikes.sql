-- Which parts look most like the board with the surest defect? Embeddings find them without any label.
with boards as (
    select
        inspection_id,
        uri,
        embed(uri, 'pcb') as vector,
        predict(uri, 'pcb').score as score
    from raw.inspections
    where product_type like 'PCB-%'
),

wanted as (
    select
        inspection_id,
        vector
    from boards
    order by score desc, inspection_id asc
    limit 1
)

select
    wanted.inspection_id as wanted_id,
    boards.inspection_id,
    round(list_cosine_similarity(boards.vector, wanted.vector), 4) as similarity,
    boards.uri
from boards
cross join wanted
where boards.inspection_id <> wanted.inspection_id
order by similarity desc, boards.inspection_id asc
limit 10
