-- What the plant saw: written by ingestion and reviewers, append-only. The one exception is raw.files, ingestion's own
-- memory of what it has read, kept up to date in place.
create schema if not exists raw;

create table raw.images (
    image_id varchar primary key,
    uri varchar not null,
    source varchar not null,
    format varchar not null,
    width integer not null,
    height integer not null,
    channels integer not null,
    size_bytes bigint not null,
    ingested_at timestamptz not null
);
comment on table raw.images is 'One row per distinct image content; the same bytes under two names are one image';
comment on column raw.images.image_id is 'SHA-256 of the file''s bytes, in hexadecimal';
comment on column raw.images.uri is 'Absolute path or URL under which these bytes were first seen';
comment on column raw.images.source is 'Layout or data set the image came from';
comment on column raw.images.format is 'File format found in the bytes: jpeg, png, bmp, tiff, webp or gif';
comment on column raw.images.width is 'Pixels, after EXIF rotation';
comment on column raw.images.height is 'Pixels, after EXIF rotation';
comment on column raw.images.channels is 'Colour channels as stored: 1 grey, 3 colour, 4 with alpha or CMYK';
comment on column raw.images.size_bytes is 'Size of the file';
comment on column raw.images.ingested_at is 'When the image was first loaded';

create table raw.inspections (
    inspection_id varchar primary key,
    unit_id varchar not null,
    image_id varchar not null,
    uri varchar not null,
    line_id varchar,
    station_id varchar,
    product_type varchar,
    captured_at timestamptz,
    attributes json,
    ingested_at timestamptz not null
);
comment on table raw.inspections is 'One row per inspected image file: a unit seen by a station at a moment. Templates are not inspections';
comment on column raw.inspections.inspection_id is 'Hash of uri and image_id, the same on every load';
comment on column raw.inspections.unit_id is 'The inspected part; several images may show one unit';
comment on column raw.inspections.image_id is 'The image, raw.images.image_id';
comment on column raw.inspections.uri is 'Absolute path or URL of the inspected file';
comment on column raw.inspections.line_id is 'Production line, if known';
comment on column raw.inspections.station_id is 'Inspection station on the line, if known';
comment on column raw.inspections.product_type is 'Product, part number or data set category, if known';
comment on column raw.inspections.captured_at is 'When the picture was taken: from the manifest, else the file''s modification time';
comment on column raw.inspections.attributes is 'The manifest''s other columns (camera, exposure, lot, ...), by name';
comment on column raw.inspections.ingested_at is 'When the inspection was loaded';

create table raw.annotations (
    annotation_id varchar not null,
    image_id varchar not null,
    uri varchar not null,
    kind varchar not null check (kind in ('class', 'box', 'mask')),
    label varchar not null,
    x1 double,
    y1 double,
    x2 double,
    y2 double,
    mask_uri varchar,
    split varchar,
    annotator varchar,
    annotated_at timestamptz not null,
    label_set_id varchar not null,
    check ((kind = 'box') = (x1 is not null and y1 is not null and x2 is not null and y2 is not null)),
    check ((kind = 'mask') = (mask_uri is not null))
);
comment on table raw.annotations
is 'One row per annotation ever made. Relabelling appends; raw.current_annotations shows what holds now';
comment on column raw.annotations.annotation_id is 'Label set and position in it, the same on every load';
comment on column raw.annotations.image_id is 'The labelled image, raw.images.image_id';
comment on column raw.annotations.uri is 'The file the label was given for; one image may be labelled under two names';
comment on column raw.annotations.kind is 'class (the whole image), box or mask';
comment on column raw.annotations.label is 'Defect class; good is the one label of defect-free images';
comment on column raw.annotations.x1 is 'Left edge in pixels of the image, boxes only';
comment on column raw.annotations.y1 is 'Top edge in pixels of the image, boxes only';
comment on column raw.annotations.x2 is 'Right edge in pixels of the image, boxes only';
comment on column raw.annotations.y2 is 'Bottom edge in pixels of the image, boxes only';
comment on column raw.annotations.mask_uri is 'Image of the same size whose non-zero pixels are the defect, masks only';
comment on column raw.annotations.split is 'train, val or test where the publisher fixed it';
comment on column raw.annotations.annotator is 'Who labelled it, if known';
comment on column raw.annotations.annotated_at is 'When it was labelled, else when the label was loaded';
comment on column raw.annotations.label_set_id is 'Hash of file, image and labels together; a changed set appends a new one';

create table raw.templates (
    image_id varchar not null,
    template_image_id varchar not null,
    uri varchar not null,
    linked_at timestamptz not null,
    primary key (image_id, template_image_id)
);
comment on table raw.templates is 'One row per pair of a test image and its defect-free template (golden board)';
comment on column raw.templates.image_id is 'The test image, raw.images.image_id';
comment on column raw.templates.template_image_id is 'Its template, an image of its own that inherits no boxes';
comment on column raw.templates.uri is 'Absolute path or URL of the template';
comment on column raw.templates.linked_at is 'When the pair was loaded';

create table raw.reviews (
    inspection_id varchar not null,
    verdict varchar not null,
    label varchar,
    reviewer varchar not null,
    reviewed_at timestamptz not null
);
comment on table raw.reviews is 'One row per verdict of an inspector on a prediction; the latest counts';
comment on column raw.reviews.inspection_id is 'The reviewed inspection, raw.inspections.inspection_id';
comment on column raw.reviews.verdict is 'What the inspector decided about the prediction';
comment on column raw.reviews.label is 'The class the inspector saw; good if there was no defect';
comment on column raw.reviews.reviewer is 'Who decided';
comment on column raw.reviews.reviewed_at is 'When';

create table raw.rejected_files (
    uri varchar not null,
    reason varchar not null,
    seen_at timestamptz not null
);
comment on table raw.rejected_files is 'One row per file or annotation that could not be used, and reason';
comment on column raw.rejected_files.uri is 'Absolute path or URL of the image or label file';
comment on column raw.rejected_files.reason is 'Why, in a sentence that names the value';
comment on column raw.rejected_files.seen_at is 'When ingestion first met it';

create table raw.files (
    uri varchar not null,
    size_bytes bigint not null,
    version varchar not null,
    role varchar not null check (role in ('image', 'template', 'label', 'rejected', 'other')),
    sha256 varchar,
    layout varchar not null,
    label_set_id varchar,
    seen_at timestamptz not null
);
comment on table raw.files is 'One row per file ingestion has read, in its latest state: what makes a reload skip unchanged files';
comment on column raw.files.uri is 'Absolute path or URL';
comment on column raw.files.size_bytes is 'Size when it was read';
comment on column raw.files.version is 'Modification time in ns, or the store''s ETag, when it was read';
comment on column raw.files.role is 'image, template, label (any label file or mask), rejected, or other (no part of the layout)';
comment on column raw.files.sha256 is 'Hash of the bytes of an image or template: its image_id';
comment on column raw.files.layout is 'The reader that understood it';
comment on column raw.files.label_set_id is 'The label set now valid for this image file; null if it has no labels';
comment on column raw.files.seen_at is 'When it was read';

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
comment on column raw.current_annotations.kind is 'class (the whole image), box or mask';
comment on column raw.current_annotations.label is 'Defect class; good is the one label of defect-free images';
comment on column raw.current_annotations.x1 is 'Left edge in pixels of the image, boxes only';
comment on column raw.current_annotations.y1 is 'Top edge in pixels of the image, boxes only';
comment on column raw.current_annotations.x2 is 'Right edge in pixels of the image, boxes only';
comment on column raw.current_annotations.y2 is 'Bottom edge in pixels of the image, boxes only';
comment on column raw.current_annotations.mask_uri is 'Image of the same size whose non-zero pixels are the defect, masks only';
comment on column raw.current_annotations.split is 'train, val or test where the publisher fixed it';
comment on column raw.current_annotations.annotator is 'Who labelled it, if known';
comment on column raw.current_annotations.annotated_at is 'When it was labelled, else when the label was loaded';
comment on column raw.current_annotations.label_set_id is 'Hash of file, image and labels together; a changed set appends a new one';
