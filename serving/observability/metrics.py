"""Metrics of the service in Prometheus' text format."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.workers.processes import Processes
from serving.workers.worker_group import SingleWorker

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
STAGES = ("store", "embed", "search", "popular", "explain", "total")
_TOGETHER = "PROMETHEUS_MULTIPROC_DIR"  # folder of the workers' counts, from which any worker can report the sums


def count_together(folder: Path) -> None:
    """Share the metrics that this process creates from now on with the processes that use the same folder."""
    os.environ[_TOGETHER] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call] # else chosen at import


def forget(pid: int) -> None:
    """Drop the gauges of a process that has ended. Its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one application, in their own registry.

    With several workers a gauge is their sum, their maximum or the most recent value, as its `multiprocess_mode` says.

    Args:
        worker_group: the workers whose metrics are reported.
    """

    def __init__(self, worker_group: SingleWorker | None = None) -> None:
        self._workers = worker_group or SingleWorker()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("two_tower_requests", "Requests answered.", ["route", "status"], registry=registry)
        stages = Histogram(
            "two_tower_stage_seconds",
            f"Time of each stage of a recommendation: {', '.join(STAGES)}.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._batches = Histogram(
            "two_tower_batch_size", "Users per call.", ["call"], buckets=_SIZES, registry=registry
        )
        self.looked_up = self._batches.labels("store").observe
        self.ranked = self._batches.labels("towers").observe
        self.in_flight = Gauge(
            "two_tower_in_flight", "Requests in flight.", multiprocess_mode="livesum", registry=registry
        )
        self.shed = Counter("two_tower_shed", "Requests refused because too many were in flight.", registry=registry)
        self.tokens_refused = Counter(
            "two_tower_tokens_refused", "Calls refused for a wrong or missing bearer token.", registry=registry
        )
        self._fallbacks = Counter(
            "two_tower_fallbacks", "Responses with popular items, by reason.", ["reason"], registry=registry
        )
        self._release = Gauge(
            "two_tower_release",
            "1 for the release that serves, 0 for earlier ones.",
            ["release"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._provider = Gauge(
            "two_tower_provider",
            "1 for the execution provider in use.",
            ["provider"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.refused = Counter(
            "two_tower_releases_refused", "Activated releases that could not be loaded.", registry=registry
        )
        self.feature_age = Gauge(
            "two_tower_feature_age_seconds",
            "Age of the newest features of a recently requested user.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.side_items = Gauge(
            "two_tower_side_items", "Items in the side index.", multiprocess_mode="livemax", registry=registry
        )
        self.side_age = Gauge(
            "two_tower_side_index_age_seconds",
            "Time since the newest upsert of the side index.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.side_unreadable = Gauge(
            "two_tower_side_unreadable",
            "Files of the side index that cannot be read, one more if they cannot be listed.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.drift = Gauge(
            "two_tower_drift_psi",
            "Population stability index of a user feature, served against trained; above 0.25 is a large drift.",
            ["feature"],
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.logged = Counter("two_tower_logged_rows", "Rows written to the feature log.", registry=registry)
        self.log_dropped = Counter(
            "two_tower_log_dropped", "Sampled rows that the feature log dropped.", registry=registry
        )
        self.restarted = Counter(
            "two_tower_workers_restarted", "Workers that ended and were restarted.", registry=registry
        )
        self._providers: set[str] = set()

    def answered(self, seconds: dict[str, float], fallback: str | None) -> None:
        """Record the stage times and the fallback of one recommendation."""
        for stage, duration in seconds.items():
            self._stages[stage].observe(duration)
        if fallback:
            self._fallbacks.labels(fallback).inc()

    def switched(self, before: str | None, release: str, provider: str) -> None:
        """Record the release that serves and its execution provider."""
        if before:
            self._release.labels(before).set(0)
        self._release.labels(release).set(1)
        for other in self._providers - {provider}:
            self._provider.labels(other).set(0)
        self._providers.add(provider)
        self._provider.labels(provider).set(1)

    def text(self) -> bytes:
        """The metrics of all workers as text. May take milliseconds."""
        if self._workers.folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._workers.folder))  # type: ignore[no-untyped-call]
        together.register(Processes(self._workers.pids))
        return generate_latest(together)
