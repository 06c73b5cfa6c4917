-- What a version said of its validation images when it was trained: what another threshold would do is known before any build.
alter table ml.version_images add column score double;
alter table ml.version_images add column is_defective boolean;
comment on column ml.version_images.score
is 'How defective the version found the image when it was trained; val only, null without a threshold or if it was imported';
comment on column ml.version_images.is_defective
is 'Whether the frozen labels call the image defective; null without a score';
