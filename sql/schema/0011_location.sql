-- Where the warehouse is: what files below its folder are called depends on it.
create table warehouse_location (
    folder varchar not null,
    settled_at timestamptz not null
);
comment on table warehouse_location
is 'One row: the folder in which this warehouse, or the one that this is a copy of, was last opened for writing';
comment on column warehouse_location.folder is 'Absolute path, all links followed. A relative uri is one below it';
comment on column warehouse_location.settled_at is 'When it was first opened for writing there';

comment on column raw.images.uri
is 'File of these bytes, as first seen: a path relative to the warehouse''s folder, else an absolute path or URL';
comment on column raw.inspections.uri
is 'The inspected file: a path relative to the warehouse''s folder, else an absolute path or URL';
comment on column raw.templates.uri
is 'The template''s file: a path relative to the warehouse''s folder, else an absolute path or URL';
comment on column raw.rejected_files.uri
is 'Image or label file: a path relative to the warehouse''s folder, else an absolute path or URL';
comment on column raw.files.uri is 'A path relative to the warehouse''s folder, else an absolute path or URL';
