-- Polygons are labels of their own kind, beside boxes and masks. DuckDB can neither drop nor change a check, so the table is
-- made anew with all its rows. Polygons that were loaded before are boxes (YOLO) or masks (COCO): `ingest --again` rereads them.
drop view raw.current_annotations;
alter table raw.annotations rename to annotations_before_polygons;

create table raw.annotations (
    annotation_id varchar not null,
    image_id varchar not null,
    uri varchar not null,
    kind varchar not null check (kind in ('class', 'box', 'polygon', 'mask')),
    label varchar not null,
    x1 double,
    y1 double,
    x2 double,
    y2 double,
    polygon double[][],
    mask_uri varchar,
    split varchar,
    annotator varchar,
    annotated_at timestamptz not null,
    label_set_id varchar not null,
    check ((kind in ('box', 'polygon')) = (x1 is not null and y1 is not null and x2 is not null and y2 is not null)),
    check ((kind = 'polygon') = (polygon is not null)),
    check ((kind = 'mask') = (mask_uri is not null))
);
insert into raw.annotations by name select * from raw.annotations_before_polygons;
drop table raw.annotations_before_polygons;

comment on table raw.annotations
is 'One row per annotation ever made. Relabelling appends; raw.current_annotations shows what holds now';
comment on column raw.annotations.annotation_id is 'Label set and position in it, the same on every load';
comment on column raw.annotations.image_id is 'The labelled image, raw.images.image_id';
comment on column raw.annotations.uri is 'The file the label was given for; one image may be labelled under two names';
comment on column raw.annotations.kind is 'class (the whole image), box, polygon or mask';
comment on column raw.annotations.label is 'Defect class; good is the one label of defect-free images';
comment on column raw.annotations.x1 is 'Left edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.annotations.y1 is 'Top edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.annotations.x2 is 'Right edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.annotations.y2 is 'Bottom edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.annotations.polygon
is 'Rings of x1, y1, x2, y2, ... in pixels of the image, as given; a ring within a ring is a hole';
comment on column raw.annotations.mask_uri is 'Image of the same size whose non-zero pixels are the defect, masks only';
comment on column raw.annotations.split is 'train, val or test where the publisher fixed it';
comment on column raw.annotations.annotator is 'Who labelled it, if known';
comment on column raw.annotations.annotated_at is 'When it was labelled, else when the label was loaded';
comment on column raw.annotations.label_set_id is 'Hash of file, image and labels together; a changed set appends a new one';

create view raw.current_annotations as
select annotations.*
from raw.annotations
inner join raw.files
    on annotations.label_set_id = files.label_set_id;
comment on view raw.current_annotations
is 'One row per annotation that holds now: the latest label set of the latest bytes of each file';
comment on column raw.current_annotations.annotation_id is 'Label set and position in it, the same on every load';
comment on column raw.current_annotations.image_id is 'The labelled image, raw.images.image_id';
comment on column raw.current_annotations.uri is 'The file the label was given for; one image may be labelled under two names';
comment on column raw.current_annotations.kind is 'class (the whole image), box, polygon or mask';
comment on column raw.current_annotations.label is 'Defect class; good is the one label of defect-free images';
comment on column raw.current_annotations.x1 is 'Left edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.current_annotations.y1 is 'Top edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.current_annotations.x2 is 'Right edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.current_annotations.y2 is 'Bottom edge in pixels of the image, boxes and bounds of polygons';
comment on column raw.current_annotations.polygon
is 'Rings of x1, y1, x2, y2, ... in pixels of the image, as given; a ring within a ring is a hole';
comment on column raw.current_annotations.mask_uri is 'Image of the same size whose non-zero pixels are the defect, masks only';
comment on column raw.current_annotations.split is 'train, val or test where the publisher fixed it';
comment on column raw.current_annotations.annotator is 'Who labelled it, if known';
comment on column raw.current_annotations.annotated_at is 'When it was labelled, else when the label was loaded';
comment on column raw.current_annotations.label_set_id is 'Hash of file, image and labels together; a changed set appends a new one';
