-- How much there is of everything.
select
    (select count(*) from raw.images) as images,
    (select count(*) from raw.inspections) as inspections,
    (select count(*) from raw.reviews) as reviews,
    (select count(*) from ml.model_versions) as model_versions,
    (select count(*) from predictions) as predictions,
    (select count(*) from defect_log) as defects,
    (select max(scored_at) from predictions) as last_scored_at,
    (select max(captured_at) from raw.inspections) as last_captured_at
