-- Corrections: what an inspection said before, and which file a renamed one was.
create table raw.superseded_inspections (
    inspection_id varchar not null,
    unit_id varchar not null,
    image_id varchar not null,
    uri varchar not null,
    line_id varchar,
    station_id varchar,
    product_type varchar,
    captured_at timestamptz,
    attributes json,
    ingested_at timestamptz not null,
    superseded_at timestamptz not null,
    superseded_by varchar not null
);
comment on table raw.superseded_inspections
is 'One row per correction of an inspection or move of its file: the row of raw.inspections as it was until then, append-only';
comment on column raw.superseded_inspections.inspection_id is 'The inspection, raw.inspections.inspection_id';
comment on column raw.superseded_inspections.unit_id is 'The inspected part, as it was known then';
comment on column raw.superseded_inspections.image_id is 'The image, raw.images.image_id';
comment on column raw.superseded_inspections.uri is 'Where the file was then';
comment on column raw.superseded_inspections.line_id is 'Production line, as it was known then';
comment on column raw.superseded_inspections.station_id is 'Inspection station, as it was known then';
comment on column raw.superseded_inspections.product_type is 'Product, as it was known then';
comment on column raw.superseded_inspections.captured_at is 'When the picture was taken, as it was known then';
comment on column raw.superseded_inspections.attributes is 'The manifest''s other columns, as they were then';
comment on column raw.superseded_inspections.ingested_at is 'When the inspection was loaded; a correction does not change it';
comment on column raw.superseded_inspections.superseded_at is 'Until when this row held';
comment on column raw.superseded_inspections.superseded_by is 'The command that replaced it';

alter table raw.files add column first_uri varchar;
comment on column raw.files.first_uri
is 'What ids are made from in place of uri: the file''s name before it moved; null if it was loaded where it is';
comment on table raw.inspections
is 'One row per inspected image file, as it is known now (before: raw.superseded_inspections). Templates are not inspections';
comment on column raw.inspections.inspection_id
is 'Hash of image_id and the uri under which the file was first loaded, the same on every load';
