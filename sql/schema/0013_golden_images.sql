-- Golden boards of products: what a model that compares sees beside an image whose own reference is not linked.
create table raw.golden_images (
    product_type varchar not null,
    image_id varchar not null,
    uri varchar not null,
    valid_from timestamptz not null,
    set_at timestamptz not null,
    set_by varchar not null,
    reason varchar not null
);
comment on table raw.golden_images
is 'One row per choice of a product''s golden board, append-only; that with the latest valid_from holds';
comment on column raw.golden_images.product_type is 'The product, raw.inspections.product_type';
comment on column raw.golden_images.image_id is 'Hash of the golden board''s file';
comment on column raw.golden_images.uri is 'Path or URL of the golden board';
comment on column raw.golden_images.valid_from
is 'From when it holds; the first of a product holds for what was captured before, too';
comment on column raw.golden_images.set_at is 'When it was chosen';
comment on column raw.golden_images.set_by is 'Who chose it';
comment on column raw.golden_images.reason is 'Why, in words';
