-- What was learned and what it was asked: written by training, the registry and scoring.
create schema if not exists ml;

create table ml.model_versions (
    name varchar not null,
    version integer not null check (version >= 1),
    task varchar not null check (task in ('classify', 'detect', 'segment', 'anomaly')),
    architecture varchar not null,
    artifact_uri varchar not null,
    artifact_sha256 varchar not null,
    labels varchar[] not null,
    preprocess json not null,
    params json not null,
    metrics json not null,
    train_query varchar,
    snapshot_sha256 varchar,
    parent varchar,
    created_at timestamptz not null,
    created_by varchar not null,
    code_version varchar not null,
    libraries json not null,
    primary key (name, version)
);
comment on table ml.model_versions is 'One row per registered version of a model; never changed once written';
comment on column ml.model_versions.name is 'Model name, as used in SQL';
comment on column ml.model_versions.version is 'Counts up from 1 for each name';
comment on column ml.model_versions.task is 'classify, detect, segment or anomaly';
comment on column ml.model_versions.architecture is 'Registered architecture that rebuilds the network';
comment on column ml.model_versions.artifact_uri is 'Folder with model.safetensors and model.json';
comment on column ml.model_versions.artifact_sha256 is 'Hash of the artifact, checked whenever it is loaded';
comment on column ml.model_versions.labels is 'Classes in the order of the network''s outputs';
comment on column ml.model_versions.preprocess is 'What is done to an image before the network sees it';
comment on column ml.model_versions.params is 'Training options, all of them';
comment on column ml.model_versions.metrics is 'Metrics on the frozen validation rows';
comment on column ml.model_versions.train_query is 'SQL whose rows were the training set';
comment on column ml.model_versions.snapshot_sha256 is 'Hash of those rows';
comment on column ml.model_versions.parent is 'Version or weights that training started from, as name@version';
comment on column ml.model_versions.created_at is 'When it was registered';
comment on column ml.model_versions.created_by is 'User who registered it';
comment on column ml.model_versions.code_version is 'Version of duckspect';
comment on column ml.model_versions.libraries is 'Versions of torch and the other libraries';

create table ml.alias_history (
    name varchar not null,
    alias varchar not null,
    version integer not null,
    valid_from timestamptz not null,
    valid_to timestamptz,
    changed_by varchar not null,
    reason varchar not null
);
comment on table ml.alias_history is 'One row per period in which an alias such as champion named a version';
comment on column ml.alias_history.name is 'Model name';
comment on column ml.alias_history.alias is 'champion, challenger or a name of the user''s own';
comment on column ml.alias_history.version is 'The version it named';
comment on column ml.alias_history.valid_from is 'From this moment';
comment on column ml.alias_history.valid_to is 'Until this moment; null while it holds';
comment on column ml.alias_history.changed_by is 'Who changed it';
comment on column ml.alias_history.reason is 'Why: the gate''s verdict or the user''s words';

create view ml.model_aliases as
select
    name,
    alias,
    version,
    valid_from,
    changed_by,
    reason
from ml.alias_history
where valid_to is null;
comment on view ml.model_aliases is 'One row per alias now valid';
comment on column ml.model_aliases.name is 'Model name';
comment on column ml.model_aliases.alias is 'champion, challenger or a name of the user''s own';
comment on column ml.model_aliases.version is 'The version it named';
comment on column ml.model_aliases.valid_from is 'From this moment';
comment on column ml.model_aliases.changed_by is 'Who changed it';
comment on column ml.model_aliases.reason is 'Why: the gate''s verdict or the user''s words';

create table ml.thresholds (
    name varchar not null,
    version integer not null,
    label varchar not null,
    threshold double not null,
    valid_from timestamptz not null,
    chosen_by varchar not null
);
comment on table ml.thresholds is 'One row per operating point ever chosen; the latest valid_from counts';
comment on column ml.thresholds.name is 'Model name';
comment on column ml.thresholds.version is 'Model version';
comment on column ml.thresholds.label is 'Class the threshold is for; * for all classes';
comment on column ml.thresholds.threshold is 'A score at or above it is a defect';
comment on column ml.thresholds.valid_from is 'From this moment';
comment on column ml.thresholds.chosen_by is 'Who or what chose it, and why';

create table ml.training_runs (
    run_id varchar primary key,
    name varchar not null,
    version integer,
    task varchar not null,
    architecture varchar not null,
    params json not null,
    snapshot_sha256 varchar not null,
    status varchar not null check (status in ('running', 'finished', 'failed', 'stopped')),
    error varchar,
    device varchar,
    started_at timestamptz not null,
    finished_at timestamptz
);
comment on table ml.training_runs is 'One row per training run, successful or not';
comment on column ml.training_runs.run_id is 'Identifies the run';
comment on column ml.training_runs.name is 'Model name';
comment on column ml.training_runs.version is 'Version it was registered as; null until then';
comment on column ml.training_runs.task is 'classify, detect, segment or anomaly';
comment on column ml.training_runs.architecture is 'Registered architecture';
comment on column ml.training_runs.params is 'Training options, all of them';
comment on column ml.training_runs.snapshot_sha256 is 'Hash of the training rows';
comment on column ml.training_runs.status is 'running, finished, failed or stopped';
comment on column ml.training_runs.error is 'Why it failed, if it did';
comment on column ml.training_runs.device is 'Where it ran';
comment on column ml.training_runs.started_at is 'Start';
comment on column ml.training_runs.finished_at is 'End; null while it runs';

create table ml.training_metrics (
    run_id varchar not null,
    epoch integer not null,
    metric varchar not null,
    value double,
    measured_at timestamptz not null
);
comment on table ml.training_metrics is 'One row per run, epoch and metric';
comment on column ml.training_metrics.run_id is 'The run, ml.training_runs.run_id';
comment on column ml.training_metrics.epoch is 'Epoch, from 1';
comment on column ml.training_metrics.metric is 'Metric, such as train/loss or val/map50';
comment on column ml.training_metrics.value is 'Its value; null if it could not be computed';
comment on column ml.training_metrics.measured_at is 'When the epoch ended';

create table ml.trials (
    study varchar not null,
    trial integer not null,
    name varchar not null,
    params json not null,
    metric varchar not null,
    value double,
    status varchar not null check (status in ('running', 'finished', 'pruned', 'failed')),
    run_id varchar,
    started_at timestamptz not null,
    finished_at timestamptz,
    primary key (study, trial)
);
comment on table ml.trials is 'One row per trial of a tuning study';
comment on column ml.trials.study is 'The study';
comment on column ml.trials.trial is 'Number of the trial, from 0';
comment on column ml.trials.name is 'Model being tuned';
comment on column ml.trials.params is 'Options that were tried';
comment on column ml.trials.metric is 'Metric that is optimised';
comment on column ml.trials.value is 'What the trial reached; null until it ends';
comment on column ml.trials.status is 'running, finished, pruned or failed';
comment on column ml.trials.run_id is 'Its training run, ml.training_runs.run_id';
comment on column ml.trials.started_at is 'Start';
comment on column ml.trials.finished_at is 'End; null while it runs';

create table ml.inference_log (
    model varchar not null,
    version integer not null,
    device varchar not null,
    images bigint not null,
    cache_hits bigint not null,
    errors bigint not null,
    seconds double not null,
    logged_at timestamptz not null
);
comment on table ml.inference_log is 'One row per query and model that was asked for predictions';
comment on column ml.inference_log.model is 'Model name';
comment on column ml.inference_log.version is 'Model version';
comment on column ml.inference_log.device is 'Where it ran: cpu, cuda:0, ...';
comment on column ml.inference_log.images is 'Images asked for, cached ones included';
comment on column ml.inference_log.cache_hits is 'Images answered from the result cache';
comment on column ml.inference_log.errors is 'Images that could not be scored';
comment on column ml.inference_log.seconds is 'Wall-clock time';
comment on column ml.inference_log.logged_at is 'When';
