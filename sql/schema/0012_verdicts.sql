-- The metric by which two versions are compared stands with the version, for `models promote` and for dbt.
alter table ml.model_versions add column gate_metric varchar;
update ml.model_versions set gate_metric = case task
    when 'classify' then 'accuracy'
    when 'detect' then 'map50'
    when 'segment' then 'mean_iou'
    else 'image_auroc'
end;
comment on column ml.model_versions.gate_metric
is 'The metric by which this version and the champion are compared before it takes its place; more is better';
-- An anomaly detector without an operating point decides nothing.
alter table ml.verdicts alter column is_defective drop not null;
comment on column ml.verdicts.is_defective
is 'What the client was told, by the operating thresholds of that moment; null if the version had none and could not decide';
