"""Every metric Stepwire has, on a registry that is handed in."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_PROCESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 28800, 86400, 604800)
_RECORD_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics of one service process; names carry the prefix `stepwire_`, durations are seconds."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry(auto_describe=True)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._add_engine_metrics()
        self._add_transport_metrics()
        self._add_executor_metrics()

    def render(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _add_engine_metrics(self) -> None:
        self.processes = self._gauge("processes", "Processes by workflow and status", "workflow", "status")
        self.step_duration_seconds = self._histogram(
            "step_duration_seconds", "Time a step took", _STEP_BUCKETS, "workflow", "step", "result"
        )
        self.process_duration_seconds = self._histogram(
            "process_duration_seconds", "Time from accept to end", _PROCESS_BUCKETS, "workflow", "status"
        )
        self.step_retries = self._counter("step_retries", "Attempts after the first", "workflow", "step")
        self.commands = self._counter("commands", "Commands by type and answer", "type", "outcome")
        self.callbacks = self._counter("callbacks", "Callbacks by answer", "outcome")
        self.callback_wait_seconds = self._histogram(
            "callback_wait_seconds", "Time a process waited for its callback", _PROCESS_BUCKETS
        )
        self.claims_lost = self._counter("claims_lost", "Claims whose executor was lost")
        self.results_dropped = self._counter("results_dropped", "Results that were not applied", "reason")

    def _add_transport_metrics(self) -> None:
        self.dead_letters = self._counter("dead_letters", "Records put aside for an operator", "topic", "error")
        self.batch_records = self._histogram("batch_records", "Records of one transaction", _RECORD_BUCKETS)
        self.batch_seconds = self._histogram("batch_seconds", "Time from poll to commit of a batch", _STEP_BUCKETS)
        self.consumer_lag = self._gauge("consumer_lag", "Records not consumed yet", "topic", "partition")
        self.outbox_oldest_seconds = self._gauge("outbox_oldest_seconds", "Age of the oldest unpublished event")
        self.queue_oldest_seconds = self._gauge("queue_oldest_seconds", "Age of the oldest unclaimed run", "queue")
        self.locks_oldest_seconds = self._gauge("locks_oldest_seconds", "Age of the oldest lock that is held")

    def _add_executor_metrics(self) -> None:
        self.executor_runs = self._gauge("executor_runs", "Runs being executed")
        self.executor_threads_stuck = self._gauge(
            "executor_threads_stuck", "Threads that outlived their step's timeout"
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="stepwire", registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="stepwire", registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace="stepwire", registry=self.registry, buckets=buckets)
