-- What was judged for a client of the server, outside of any query. Appended before the client has its answer.
create table ml.verdicts (
    verdict_id varchar primary key,
    request_id varchar not null,
    inspection_id varchar,
    image_id varchar not null,
    model varchar not null,
    version integer not null,
    artifact_sha256 varchar not null,
    task varchar not null,
    label varchar,
    confidence double,
    score double,
    regions struct(
        label varchar,
        confidence double,
        x1 double,
        y1 double,
        x2 double,
        y2 double,
        area double,
        mask blob
    )[],
    is_defective boolean not null,
    brightness double,
    sharpness double,
    client varchar not null,
    device varchar not null,
    is_cached boolean not null,
    batch_images integer not null,
    seconds double not null,
    latency_ms double not null,
    judged_at timestamptz not null
);
comment on table ml.verdicts is 'One row per verdict that the server gave; dbt takes them over and scores nothing twice';
comment on column ml.verdicts.verdict_id is 'Hash of request, image and version: a request that is sent again is one verdict';
comment on column ml.verdicts.request_id is 'The client''s X-Request-Id, else one of the server''s own';
comment on column ml.verdicts.inspection_id is 'The inspection, raw.inspections; null if the request named no unit, line or station';
comment on column ml.verdicts.image_id is 'The judged image, raw.images.image_id';
comment on column ml.verdicts.model is 'Model name';
comment on column ml.verdicts.version is 'Model version';
comment on column ml.verdicts.artifact_sha256 is 'Hash of the artifact that judged';
comment on column ml.verdicts.task is 'classify, detect, segment or anomaly';
comment on column ml.verdicts.label is 'As predict() gives it';
comment on column ml.verdicts.confidence is 'As predict() gives it';
comment on column ml.verdicts.score is 'As predict() gives it';
comment on column ml.verdicts.regions is 'As predict() gives them, whatever the operating threshold';
comment on column ml.verdicts.is_defective is 'What the client was told, by the operating thresholds of that moment';
comment on column ml.verdicts.brightness is 'Mean grey value, 0 to 255';
comment on column ml.verdicts.sharpness is 'Variance of the Laplacian; low is out of focus';
comment on column ml.verdicts.client is 'Name of the token that asked';
comment on column ml.verdicts.device is 'Where the model ran';
comment on column ml.verdicts.is_cached is 'Whether the answer was known already';
comment on column ml.verdicts.batch_images is 'How many images shared the forward pass; 0 if the answer was known';
comment on column ml.verdicts.seconds is 'This image''s share of the device''s time';
comment on column ml.verdicts.latency_ms is 'From the last byte of the request to the answer, before it was stored';
comment on column ml.verdicts.judged_at is 'When';
