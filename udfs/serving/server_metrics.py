"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from udfs.runtime import LoadedModel, SingleResult
from udfs.runtime.single_images import A, Facts, Kept

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServerMetrics:
    """The server's counters, in a registry of their own, so that two servers in one process do not share them."""

    def __init__(self) -> None:
        kept = self._registry = CollectorRegistry()
        self.requests = Counter(
            "duckspect_requests",
            "HTTP requests by route and status",
            ("route", "method", "status"),
            registry=kept,
        )
        self.latency = Histogram(
            "duckspect_request_seconds", "Time of HTTP requests", ("route",), buckets=_SECONDS, registry=kept
        )
        self.waiting = Gauge(
            "duckspect_requests_in_progress", "Requests for verdicts, at work or waiting", registry=kept
        )
        self.verdicts = Counter("duckspect_verdicts", "Verdicts", ("model", "version", "outcome"), registry=kept)
        self.cached = Counter(
            "duckspect_verdicts_cached", "Verdicts known without the model", ("model",), registry=kept
        )
        self.kept = Gauge("duckspect_result_cache_bytes", "Results kept for images that come again", registry=kept)
        self.batch = Histogram(
            "duckspect_batch_images",
            "Images that shared a forward pass",
            ("model",),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=kept,
        )
        self.device = Counter("duckspect_device_seconds", "Time of the device", ("device", "model"), registry=kept)
        self.queries = Counter("duckspect_quack_queries", "Queries over Quack", ("role", "outcome"), registry=kept)

    def count_verdict(
        self, model: LoadedModel, result: SingleResult[A, Facts, Kept], *, is_defective: bool | None
    ) -> None:
        """Count a verdict."""
        name = model.version.name
        outcome = {True: "defective", False: "good", None: "undecided"}[is_defective]
        self.verdicts.labels(name, model.version.version, outcome).inc()
        if result.is_cached:
            self.cached.labels(name).inc()
        else:
            self.batch.labels(name).observe(result.batch)
            self.device.labels(model.engine.device, name).inc(result.seconds / result.batch)

    def asked(self, role: str, is_allowed: bool) -> None:
        """Count a query over Quack."""
        self.queries.labels(role, "allowed" if is_allowed else "refused").inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
