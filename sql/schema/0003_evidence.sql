-- What predictions are judged by: the rows each version was trained and validated on, and reviews of single regions.
create table ml.version_images (
    name varchar not null,
    version integer not null,
    image_id varchar not null,
    split varchar not null check (split in ('train', 'val', 'test')),
    primary key (name, version, image_id)
);
comment on table ml.version_images
is 'One row per version and image of its frozen rows: what it must not be judged on, and what the gate uses';
comment on column ml.version_images.name is 'Model name';
comment on column ml.version_images.version is 'Model version';
comment on column ml.version_images.image_id is 'SHA-256 of the image''s bytes, raw.images.image_id';
comment on column ml.version_images.split is 'train: it learned from it; val: its metrics and threshold come from it; test: neither';

alter table raw.reviews add column model varchar;
alter table raw.reviews add column version integer;
alter table raw.reviews add column x1 double;
alter table raw.reviews add column y1 double;
alter table raw.reviews add column x2 double;
alter table raw.reviews add column y2 double;
comment on column raw.reviews.verdict
is 'confirmed (the prediction is right), rejected (there is no defect), relabelled (another class) or missed (a defect nobody found)';
comment on column raw.reviews.model is 'Model whose prediction was reviewed; null if none was';
comment on column raw.reviews.version is 'Its version';
comment on column raw.reviews.x1 is 'Left edge in pixels of the reviewed or drawn region; null if the whole image was judged';
comment on column raw.reviews.y1 is 'Top edge in pixels of the region';
comment on column raw.reviews.x2 is 'Right edge in pixels of the region';
comment on column raw.reviews.y2 is 'Bottom edge in pixels of the region';
