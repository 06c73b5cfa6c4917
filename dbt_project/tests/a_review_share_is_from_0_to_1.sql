select
    model,
    review_share
from {{ ref('review_shares') }}
where not review_share between 0 and 1
