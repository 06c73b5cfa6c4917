"""The SQL types that the functions take and give, each written once."""

from __future__ import annotations

BOX = "label varchar, confidence double, x1 double, y1 double, x2 double, y2 double"
DETECTION = f"struct({BOX})"
REGION = f"struct({BOX}, area double, mask blob)"
PREDICTION = (
    "struct(model varchar, version integer, task varchar, label varchar, confidence double, score double, "
    f"regions {REGION}[], error varchar)"
)
CLASSIFICATION = "struct(label varchar, confidence double, probabilities map(varchar, double))"
ANOMALY = "struct(score double, threshold double, is_anomalous boolean)"
INFO = (
    "struct(width integer, height integer, channels integer, format varchar, sha256 varchar, "
    "brightness double, sharpness double)"
)
EMBEDDING = "float[]"

IMAGE = "union(uri varchar, bytes blob)"

RAW_PREDICTION = f"struct(answer {PREDICTION}, thresholds map(varchar, double), fault varchar)"
RAW_EMBEDDING = f"struct(answer {EMBEDDING}, fault varchar)"
RAW_PICTURE = "struct(answer blob, fault varchar)"
RAW_INFO = f"struct(info {INFO}, error varchar)"
