"""What the service counts, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from serving.recommender import Answer

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)  # seconds


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("two_tower_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.stages = Histogram(
            "two_tower_stage_seconds",
            "Time of each stage of a recommendation: store, embed, search, popular, total.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "two_tower_fallbacks", "Recommendations of popular items, by reason.", ["reason"], registry=self.registry
        )
        self.release = Gauge(
            "two_tower_release",
            "1 for the release that serves, 0 for earlier ones.",
            ["release"],
            registry=self.registry,
        )
        self.refused = Counter(
            "two_tower_releases_refused",
            "Activated releases that could not be served.",
            registry=self.registry,
        )

    def answered(self, answer: Answer, total: float) -> None:
        """Count one recommendation that took `total` seconds."""
        for stage, seconds in answer.seconds.items():
            self.stages.labels(stage).observe(seconds)
        self.stages.labels("total").observe(total)
        if answer.fallback:
            self.fallbacks.labels(answer.fallback).inc()

    def switched(self, before: str | None, release: str) -> None:
        if before:
            self.release.labels(before).set(0)
        self.release.labels(release).set(1)

    def text(self) -> bytes:
        return generate_latest(self.registry)
