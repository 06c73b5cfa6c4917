-- What was tried to run a version faster than torch does; derived from its artifact, so it can be made again.
create table ml.compiled_models (
    artifact_sha256 varchar primary key,
    file_sha256 varchar,
    torch_ms double,
    compiled_ms double,
    note varchar not null,
    compiled_at timestamptz not null
);
comment on table ml.compiled_models is 'One row per artifact that `models compile` tried to run without torch on this machine';
comment on column ml.compiled_models.artifact_sha256 is 'Hash of the artifact, ml.model_versions.artifact_sha256';
comment on column ml.compiled_models.file_sha256 is 'Hash of the compiled form, which runs in place of torch; null if torch stays';
comment on column ml.compiled_models.torch_ms is 'Milliseconds of one image in torch, mean of all cores and one; null if not measured';
comment on column ml.compiled_models.compiled_ms is 'The same in the compiled form';
comment on column ml.compiled_models.note is 'What became of it';
comment on column ml.compiled_models.compiled_at is 'When';
