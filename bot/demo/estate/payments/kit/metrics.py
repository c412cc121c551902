"""The service's Prometheus metrics."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Fine steps below 50 ms, where the service lives: a p95 read out of wider buckets would be a guess.
BUCKETS = (
    *(0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.010, 0.0125, 0.015, 0.0175, 0.020, 0.025, 0.030),
    *(0.040, 0.050, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0),
)


class Metrics:
    """Counts and times the API's requests; health, version and metrics pages are not traffic and stay out."""

    def __init__(self, *, version: str, build: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests",
            "API requests answered, by status.",
            ["method", "path", "status"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time from the request's arrival to its answer.",
            ["method", "path"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        info = Gauge(
            "payments_build_info", "1, labelled with the release.", ["version", "build"], registry=self.registry
        )
        info.labels(version, build).set(1)

    def observe(self, *, method: str, path: str, status: int, seconds: float) -> None:
        """Count one answered request and its duration in seconds."""
        self._requests.labels(method, path, str(status)).inc()
        self._durations.labels(method, path).observe(seconds)

    def page(self) -> bytes:
        """Render the page in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)
