-- A request that is sent again is one verdict, also across a promotion.
comment on column ml.verdicts.verdict_id is 'Hash of request, model as asked for and image: a request that is sent again is one verdict';
