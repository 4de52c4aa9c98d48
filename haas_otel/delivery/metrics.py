"""Metrics of task runs, made from their spans when these are delivered.

A finished task span waits in its segment for the metrics exporter as it does for the span exporter;
when its turn comes its duration is counted. So a count has a span's life: it survives SIGKILL and
a collector that is down, is there once for each task run whichever process ended the span, and the
end of a process waits for it no longer than for spans.

The number of active tasks is that of the open start records of all processes that live on this
machine: a killed process takes its number with it.
"""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from haas_otel._settings import settings
from haas_otel.delivery.exporters import Target, chosen_names, is_otlp, make_exporter
from haas_otel.delivery.otlp import TAKEN, Answer, Kind, Otlp
from haas_otel.span import package_version

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

    Running = Callable[[], Counter[str]]

_logger = logging.getLogger(__name__)

DURATION = "background_task.duration"
ACTIVE = "background_task.active"
# From 10 ms to 12 hours, in seconds.
BUCKETS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200),
)
_TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_INTERVAL_SECONDS = 60.0
_NO_METRICS = frozenset(("UNIMPLEMENTED", "404", "405"))


def chosen_metrics(resource: Resource, running: Running) -> tuple[Target, ...]:
    """Return what ``OTEL_METRICS_EXPORTER`` names; unset, ``otlp`` if an endpoint is set.

    ``running`` returns how many tasks go on, on this machine, by ``task.type``.
    """
    targets = {}
    for name in chosen_names("METRICS"):
        if name == "prometheus":
            _logger.warning(
                "OTEL_METRICS_EXPORTER=prometheus is left out: a run's process ends before it is"
                " scraped. Send metrics by OTLP, to a collector or to Prometheus itself."
            )
            continue
        key = "metrics" if name.startswith("otlp") else f"metrics-{name}"
        targets[key] = Target(key, partial(TaskMetrics, name, resource, running), is_of_spans=False)
    return tuple(targets.values())


def lasting(resource: Resource) -> Resource:
    """Return a resource without what is another in each process.

    With that each run would be a service of its own, with series of its own. A
    ``service.instance.id`` that is given in ``OTEL_RESOURCE_ATTRIBUTES`` stays.
    """
    from opentelemetry.sdk.resources import Resource

    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    left_out = set() if "service.instance.id" in given else {"service.instance.id"}
    kept = {
        key: value
        for key, value in resource.attributes.items()
        if key not in left_out
        and (not key.startswith("process.") or key.startswith("process.runtime."))
    }
    return Resource(kept, resource.schema_url)


class TaskMetrics:
    """Takes finished spans and exports what is counted of them; see `exporters.SpanExporting`.

    Raises as `make_exporter`, and TypeError for an exporter that waits to be asked.
    """

    def __init__(self, name: str, resource: Resource, running: Running) -> None:
        self._exporter = make_exporter(name, "METRICS")
        if not callable(getattr(self._exporter, "export", None)):
            raise TypeError(f"{name} waits to be asked, which no short-lived process can")
        self._otlp = Otlp(self._exporter, "METRICS") if is_otlp(self._exporter) else None
        self._running = running
        self._types: set[str] = set()
        self._sent: dict[str, int] = {}
        self._sent_at = 0.0
        self._counted: set[int] = set()
        self._refused = False
        interval = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
        self._interval = float(interval) / 1000 if interval.isdigit() else _INTERVAL_SECONDS
        self._own = _Meters(resource, self._exporter, self._active)
        self._meters = {resource: self._own}

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Count the task spans among these, and send the counts."""
        tasks = [span for span in spans if "task.status" in _labels(span)]
        for resource, group in groupby(tasks, key=lambda span: lasting(span.resource)):
            meters = self._meters.get(resource)
            if meters is None:
                meters = self._meters[resource] = _Meters(resource, self._exporter)
            new = {span.context.span_id: span for span in group if span.context}
            for span_id in new.keys() - self._counted:
                meters.record(new[span_id])
                self._types.add(str(_labels(new[span_id])["task.type"]))
            answer = self._send(meters)
            # What was not taken of a difference is gone, and is counted again when the spans come
            # again; what was not taken of a sum is still in it.
            if answer.kind is Kind.TAKEN or not meters.is_delta:
                self._counted |= new.keys()
            if answer.kind is not Kind.TAKEN:
                return answer
        self._counted -= {span.context.span_id for span in spans if span.context}
        return TAKEN

    def probe(self) -> Answer | None:
        """Send nothing, where that says something."""
        return self._allowed(self._otlp.probe()) if self._otlp else None

    def refresh(self) -> Answer:
        """Send the number of active tasks when it has changed or was not sent for long."""
        active = self._active()
        late = time.monotonic() - self._sent_at >= self._interval
        if active == self._sent and not (late and any(active.values())):
            return TAKEN
        return self._send(self._own)

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()

    def _active(self) -> dict[str, int]:
        """Return the machine's number by type; types that were there before are there with 0."""
        running = self._running()
        self._types |= running.keys()
        return {kind: running[kind] for kind in sorted(self._types)}

    def _send(self, meters: _Meters) -> Answer:
        active = self._active()
        data = meters.reader.get_metrics_data()
        answer = TAKEN
        if data is not None and self._otlp is not None:
            answer = self._allowed(self._otlp.send(data))
        elif data is not None and self._exporter.export(data).name != "SUCCESS":
            answer = Answer(Kind.FAILED)
        if answer.kind is Kind.TAKEN and meters is self._own:
            self._sent, self._sent_at = active, time.monotonic()
        return answer

    def _allowed(self, answer: Answer) -> Answer:
        """Return an answer, as if all was taken where a backend is without metrics."""
        if answer.code not in _NO_METRICS:
            return answer
        if not self._refused:
            self._refused = True
            _logger.warning(
                "the collector takes no metrics (%s): they are left out."
                " OTEL_METRICS_EXPORTER=none spares the attempt",
                answer.reason,
            )
        return TAKEN


class _Meters:
    """The instruments for task runs of one resource, and what they hold."""

    def __init__(
        self,
        resource: Resource,
        exporter: MetricExporter,
        active: Callable[[], dict[str, int]] | None = None,
    ) -> None:
        from opentelemetry.sdk import metrics
        from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

        # An up-down count is sent as it stands, not as a difference, whatever is preferred.
        preferred: dict[type, AggregationTemporality] = {
            metrics.Histogram: AggregationTemporality.DELTA,
            metrics.ObservableCounter: AggregationTemporality.DELTA,
        }
        if os.environ.get(_TEMPORALITY, "").strip():
            preferred = dict(exporter._preferred_temporality or {})
        self.is_delta = preferred.get(metrics.Histogram) is AggregationTemporality.DELTA
        self.reader = InMemoryMetricReader(preferred, exporter._preferred_aggregation)
        provider = metrics.MeterProvider([self.reader], resource=resource, shutdown_on_exit=False)
        meter = provider.get_meter(settings.scope, package_version())
        self._durations = meter.create_histogram(
            DURATION, "s", "How long task runs took.", explicit_bucket_boundaries_advisory=BUCKETS
        )
        if active is not None:
            meter.create_observable_up_down_counter(
                ACTIVE,
                [_callback(lambda: [(count, {"task.type": k}) for k, count in active().items()])],
                "{task}",
                "Task runs that go on, on this machine.",
            )
            meter.create_observable_counter(
                "process.cpu.time", [_callback(_cpu_times)], "s", "Time on a processor."
            )
            meter.create_observable_up_down_counter(
                "process.memory.usage", [_callback(_memory)], "By", "Physical memory in use."
            )

    def record(self, span: ReadableSpan) -> None:
        """Count one task run, with its span as the exemplar."""
        from opentelemetry.context import Context
        from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, set_span_in_context

        labels = {key: str(_labels(span)[key]) for key in ("task.type", "task.status")}
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        exemplar = NonRecordingSpan(span.context or INVALID_SPAN_CONTEXT)
        self._durations.record(seconds, labels, set_span_in_context(exemplar, Context()))


def _labels(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a task's span; none of any other."""
    scope, attributes = span.instrumentation_scope, span.attributes or {}
    is_task = scope is not None and scope.name == settings.scope and "task.type" in attributes
    return dict(attributes) if is_task else {}


def _callback(observe: Callable[[], Any]) -> Callable[[CallbackOptions], Iterator[Observation]]:
    from opentelemetry.metrics import Observation

    return lambda _: (Observation(*each) for each in observe())


def _cpu_times() -> list[tuple[float, dict[str, str]]]:
    times = os.times()
    return [(times.user, {"cpu.mode": "user"}), (times.system, {"cpu.mode": "system"})]


def _memory() -> list[tuple[int]]:
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib gains nothing here
            return [(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"),)]
    except (OSError, ValueError, IndexError):
        return []
