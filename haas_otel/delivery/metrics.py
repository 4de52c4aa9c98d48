"""Metrics of task runs, made from their spans when these are delivered.

A finished task span waits in its segment for the metrics exporter as it does for the span exporter;
when its turn comes its duration is counted. So a count has a span's life: it survives SIGKILL and
a collector that is down, is there once for each task run whichever process ended the span, and the
end of a process waits for it no longer than for spans.

The number of active tasks is that of all processes of this machine together, each of which notes
its own in a file that it holds a lock on: a killed process takes its number with it.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haas_otel.delivery.exporters import chosen_names, is_otlp, make_exporter
from haas_otel.delivery.otlp import TAKEN, Answer, Kind, Otlp
from haas_otel.span import SCOPE, package_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.active import ActiveTasks

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


@dataclass(frozen=True)
class MetricsTarget:
    """A metrics exporter by its name in ``OTEL_METRICS_EXPORTER``, to which spans go as counts."""

    name: str
    resource: Resource
    active: ActiveTasks

    @property
    def key(self) -> str:
        """The name under which spans wait for it."""
        return "metrics" if self.name.startswith("otlp") else f"metrics-{self.name}"

    @property
    def sends_spans(self) -> bool:
        """Whether what goes to it are spans as such."""
        return False

    def load(self) -> TaskMetrics:
        """Import and make the exporter; raises as `make_exporter`, and TypeError if it is asked."""
        exporter = make_exporter(self.name, "METRICS")
        if not callable(getattr(exporter, "export", None)):
            raise TypeError(f"{self.name} waits to be asked, which no short-lived process can")
        return TaskMetrics(exporter, self.resource, self.active)


def lasting(resource: Resource) -> Resource:
    """Return a resource without what is another in each process.

    With that each run would be a series of metrics, and a stream of logs, of its own. A
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


def chosen_metrics(resource: Resource, active: ActiveTasks) -> tuple[MetricsTarget, ...]:
    """Return what ``OTEL_METRICS_EXPORTER`` names; unset, ``otlp`` if an endpoint is set."""
    targets = {}
    for name in chosen_names("METRICS"):
        if name == "prometheus":
            _logger.warning(
                "OTEL_METRICS_EXPORTER=prometheus is left out: a run's process ends before it is"
                " scraped. Send metrics by OTLP, to a collector or to Prometheus itself."
            )
            continue
        target = MetricsTarget(name, lasting(resource), active)
        targets[target.key] = target
    return tuple(targets.values())


class TaskMetrics:
    """Takes finished spans and exports what is counted of them; see `exporters.SpanExporting`."""

    def __init__(self, exporter: MetricExporter, resource: Resource, active: ActiveTasks) -> None:
        self._exporter = exporter
        self._otlp = Otlp(exporter, "METRICS") if is_otlp(exporter) else None
        self._resource = resource
        self._active = active
        self._meters: dict[Resource, _Meters] = {resource: self._meters_of(resource, own=True)}
        self._counted: set[int] = set()
        self._sent: dict[str, int] = {}
        self._sent_at = 0.0
        self._refused = False
        interval = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
        self._interval = float(interval) / 1000 if interval.isdigit() else _INTERVAL_SECONDS

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Count the task spans among these, and send the counts."""
        by_resource: dict[Resource, list[ReadableSpan]] = {}
        for span in spans:
            if _is_task(span):
                by_resource.setdefault(lasting(span.resource), []).append(span)
        for resource, tasks in by_resource.items():
            answer = self._count(resource, tasks)
            if answer.kind is not Kind.TAKEN:
                return answer
        self._counted.difference_update(map(_id_of, spans))
        return TAKEN

    def probe(self) -> Answer | None:
        """Send nothing; only by OTLP, where all have to take that."""
        return self._allowed(self._otlp.probe()) if self._otlp else None

    def refresh(self) -> Answer:
        """Send the number of active tasks when it has changed or was not sent for long."""
        active = self._active.everywhere()
        late = time.monotonic() - self._sent_at >= self._interval
        if active == self._sent and not (late and any(active.values())):
            return TAKEN
        return self._send(self._meters[self._resource])

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()

    def _count(self, resource: Resource, spans: Sequence[ReadableSpan]) -> Answer:
        """Count spans that are not counted yet, and send the counts."""
        meters = self._meters.get(resource)
        if meters is None:
            meters = self._meters[resource] = self._meters_of(resource, own=False)
        new = [span for span in spans if _id_of(span) not in self._counted]
        for span in new:
            meters.record(span)
        answer = self._send(meters)
        # What was not taken of a difference is gone, and is counted again when the spans come
        # again; what was not taken of a sum is still in it.
        if answer.kind is Kind.TAKEN or not meters.is_delta:
            self._counted.update(map(_id_of, new))
        return answer

    def _send(self, meters: _Meters) -> Answer:
        active = self._active.everywhere()
        data = meters.collect()
        answer = TAKEN if data is None else self._allowed(self._export(data))
        if answer.kind is Kind.TAKEN and meters is self._meters[self._resource]:
            self._sent, self._sent_at = active, time.monotonic()
        return answer

    def _export(self, data: MetricsData) -> Answer:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        if self._otlp is not None:
            return self._otlp.send(data)
        taken = self._exporter.export(data) is MetricExportResult.SUCCESS
        return TAKEN if taken else Answer(Kind.FAILED)

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

    def _meters_of(self, resource: Resource, *, own: bool) -> _Meters:
        return _Meters(resource, self._exporter, self._active.everywhere if own else None)


class _Meters:
    """The instruments for task runs of one resource, and what they hold."""

    def __init__(
        self,
        resource: Resource,
        exporter: MetricExporter,
        active: Callable[[], dict[str, int]] | None,
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
        self._reader = InMemoryMetricReader(preferred, exporter._preferred_aggregation)
        provider = metrics.MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        meter = provider.get_meter(SCOPE, package_version())
        self._durations = meter.create_histogram(
            DURATION, "s", "How long task runs took.", explicit_bucket_boundaries_advisory=BUCKETS
        )
        if active is not None:
            meter.create_observable_up_down_counter(
                ACTIVE, [_active_of(active)], "{task}", "Task runs that go on, on this machine."
            )
            meter.create_observable_counter(
                "process.cpu.time", [_cpu_time], "s", "Time on a processor."
            )
            meter.create_observable_up_down_counter(
                "process.memory.usage", [_memory], "By", "Physical memory in use."
            )

    def record(self, span: ReadableSpan) -> None:
        """Count one task run, with its span as the exemplar."""
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        attributes = span.attributes or {}
        labels = {key: str(attributes[key]) for key in ("task.type", "task.status")}
        context = span.get_span_context()
        assert context is not None  # noqa: S101 - looked at before
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        exemplar = set_span_in_context(NonRecordingSpan(context), Context())
        self._durations.record(seconds, labels, exemplar)

    def collect(self) -> MetricsData | None:
        """Return what is to be sent; None where there is nothing."""
        return self._reader.get_metrics_data()


def _id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return context.span_id if context else 0


def _is_task(span: ReadableSpan) -> bool:
    scope, attributes = span.instrumentation_scope, span.attributes or {}
    return (
        scope is not None
        and scope.name == SCOPE
        and "task.type" in attributes
        and "task.status" in attributes
    )


def _active_of(active: Callable[[], dict[str, int]]) -> Callable[[CallbackOptions], Any]:
    from opentelemetry.metrics import Observation

    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(count, {"task.type": kind}) for kind, count in active().items()]

    return observe


def _cpu_time(_: CallbackOptions) -> list[Observation]:
    from opentelemetry.metrics import Observation

    times = os.times()
    return [
        Observation(times.user, {"cpu.mode": "user"}),
        Observation(times.system, {"cpu.mode": "system"}),
    ]


def _memory(_: CallbackOptions) -> list[Observation]:
    from opentelemetry.metrics import Observation

    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib gains nothing here
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return []
    return [Observation(pages * os.sysconf("SC_PAGE_SIZE"))]
