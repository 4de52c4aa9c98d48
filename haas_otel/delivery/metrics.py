"""Metrics of task runs, made from their spans when these are delivered; and what no span carries.

A finished task span waits in its segment for the metrics exporter as it does for the span exporter;
when its turn comes its duration is counted. So a count has a span's life: it survives SIGKILL and
a collector that is down, is there once for each task run whichever process ended the span, and the
end of a process waits for it no longer than for spans.

The number of active tasks is that of the open start records of all processes that live on this
machine: a killed process takes its number with it.

What never began and what an audit found are counted for themselves, and sent at once.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, set_span_in_context

from haas_otel import _sdk, history
from haas_otel._settings import settings
from haas_otel.delivery.codec import carried
from haas_otel.delivery.exporters import Target, chosen_names, chosen_targets, make_exporter
from haas_otel.delivery.limits import positive
from haas_otel.delivery.otlp import NOTHING, TAKEN, Answer, Exporter, Kind
from haas_otel.span import package_version

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.metrics import Histogram, Meter
    from opentelemetry.sdk.trace import ReadableSpan

    Running = Callable[[], Counter[str]]
    Meters = tuple[InMemoryMetricReader, Histogram, Histogram]

_logger = logging.getLogger(__name__)

DURATION = "background_task.duration"
ACTIVE = "background_task.active"
WAIT = "background_task.wait.duration"
WAIT_REASON = "background_task.wait.reason"
NOT_STARTED = "background_task.not_started"
REASON = "background_task.not_started.reason"
AUDIT = "background_task.audit"
# From 10 ms to 12 hours, in seconds.
BUCKETS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200),
)
_TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


def chosen_metrics(resource: Resource, running: Running) -> tuple[Target, ...]:
    """Return what ``OTEL_METRICS_EXPORTER`` names.

    ``running`` returns how many tasks go on, on this machine, by ``task.type``.
    """
    make = partial(TaskMetrics, resource=resource, running=running)
    targets = chosen_targets("METRICS", "metrics", make)
    if any(target.key == "metrics-prometheus" for target in targets):
        _logger.warning(
            "OTEL_METRICS_EXPORTER=prometheus is left out: a run's process ends before it is"
            " scraped. Send metrics by OTLP, to a collector or to Prometheus itself."
        )
    return tuple(target for target in targets if target.key != "metrics-prometheus")


def preferred(exporter: Any) -> tuple[dict[type, Any], Any]:
    """Return the temporality and the aggregation for what is sent to an exporter.

    An up-down count is sent as it stands, not as a difference, whatever is preferred.
    """
    temporality, aggregation = _sdk.preferred(exporter)
    if not os.environ.get(_TEMPORALITY, "").strip():
        differences = (sdk.Histogram, sdk.Counter, sdk.ObservableCounter)
        temporality = dict.fromkeys(differences, AggregationTemporality.DELTA)
    return temporality, aggregation


def shared_resource(auto_instrumentation_version: str | None = None) -> Resource:
    """Return the one resource of spans, metrics and logs, without what is another in each process.

    With that each run would be a service of its own, with series of its own. A
    ``service.instance.id`` that is given in ``OTEL_RESOURCE_ATTRIBUTES`` stays.
    """
    version = auto_instrumentation_version
    resource = Resource.create({"telemetry.auto.version": version} if version else {})
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    left_out = set() if "service.instance.id" in given else {"service.instance.id"}
    kept = {
        key: value
        for key, value in resource.attributes.items()
        if key not in left_out
        and (not key.startswith("process.") or key.startswith("process.runtime."))
    }
    if str(kept.get("service.name")).startswith("unknown_service"):
        kept["service.name"] = settings.service_name
    return Resource(carried(kept), resource.schema_url)


class TaskMetrics(Exporter):
    """Takes finished spans and exports what is counted of them; raises as `make_exporter`."""

    def __init__(self, name: str, resource: Resource, running: Running) -> None:
        made = make_exporter(name, "METRICS")
        super().__init__(made, "METRICS", optional=True)
        self._running = running
        self._active: dict[str, int] = {}
        self._types: set[str] = set()
        self._sent: dict[str, int] = {}
        self._sent_at = 0.0
        self._counted: set[int] = set()
        self._interval = positive("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000
        self._preferred, self._aggregation = preferred(made)
        self._own = self._make_meters(resource, of_process=True)
        self._meters = {resource: self._own}

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Count the task spans among these, and send the counts."""
        tasks = [span for span in spans if "task.status" in of_task(span)]
        for resource, group in groupby(tasks, key=lambda span: span.resource):
            meters = self._meters.get(resource)
            if meters is None:
                meters = self._meters[resource] = self._make_meters(resource)
            new = {span.context.span_id: span for span in group if span.context}
            for span_id in new.keys() - self._counted:
                self._types.add(_count(meters, new[span_id]))
            if meters is self._own:
                self._look()
            answer = self._send(meters)
            # What was not taken of a difference is gone, and is counted again when the spans come
            # again; what was not taken of a sum is still in it.
            is_sum = self._preferred.get(sdk.Histogram) is not AggregationTemporality.DELTA
            if answer.kind is Kind.TAKEN or is_sum:
                self._counted |= new.keys()
            if answer.kind is not Kind.TAKEN:
                return answer
        self._counted -= {span.context.span_id for span in spans if span.context}
        return TAKEN if tasks else NOTHING

    def refresh(self) -> Answer:
        """Send the number of active tasks when it has changed or was not sent for long."""
        self._look()
        late = time.monotonic() - self._sent_at >= self._interval
        if self._active == self._sent and not (late and any(self._active.values())):
            return NOTHING
        return self._send(self._own)

    def _look(self) -> None:
        """Count the machine's tasks by type; types that were there before are there with 0."""
        running = self._running()
        self._types |= running.keys()
        self._active = {kind: running[kind] for kind in sorted(self._types)}

    def _send(self, meters: Meters) -> Answer:
        data = meters[0].get_metrics_data()
        answer = TAKEN if data is None else super().send(data)
        if answer.kind is Kind.TAKEN and meters is self._own:
            self._sent, self._sent_at = self._active, time.monotonic()
        return answer

    def _make_meters(self, resource: Resource, *, of_process: bool = False) -> Meters:
        """Return what counts the task runs of a resource, and what reads it."""
        reader = InMemoryMetricReader(self._preferred, self._aggregation)
        meter = _meter(reader, resource)
        if of_process:
            meter.create_observable_up_down_counter(
                ACTIVE,
                [lambda _: [Observation(n, {"task.type": k}) for k, n in self._active.items()]],
                "{task}",
                "Task runs that go on, on this machine.",
            )
            meter.create_observable_counter(
                "process.cpu.time", [_cpu_times], "s", "Time on a processor."
            )
            meter.create_observable_up_down_counter(
                "process.memory.usage", [_memory], "By", "Physical memory in use."
            )
        durations = meter.create_histogram(
            DURATION, "s", "How long task runs took.", explicit_bucket_boundaries_advisory=BUCKETS
        )
        waits = meter.create_histogram(
            WAIT, "s", "How long runs waited.", explicit_bucket_boundaries_advisory=BUCKETS
        )
        return reader, durations, waits


def _count(meters: Meters, span: ReadableSpan) -> str:
    """Count one task run and its waits, with its span as the exemplar; return its type."""
    attributes = of_task(span)
    labels = {key: str(attributes[key]) for key in ("task.type", "task.status")}
    seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    exemplar = NonRecordingSpan(span.context or INVALID_SPAN_CONTEXT)
    context = set_span_in_context(exemplar, Context())
    meters[1].record(seconds, labels, context)
    for key, waited in attributes.items():
        if key.startswith(history.WAIT):
            reason = key.removeprefix(history.WAIT).removesuffix("_ms")
            by = {"task.type": labels["task.type"], WAIT_REASON: reason}
            meters[2].record(waited / 1e3, by, context)
    return labels["task.type"]


def of_task(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a task's span; none of any other."""
    scope, attributes = span.instrumentation_scope, span.attributes or {}
    is_task = scope is not None and scope.name == settings.scope and "task.type" in attributes
    return dict(attributes) if is_task else {}


def _cpu_times(_: object) -> Iterator[Observation]:
    times = os.times()
    yield Observation(times.user, {"cpu.mode": "user"})
    yield Observation(times.system, {"cpu.mode": "system"})


def _memory(_: object) -> Iterator[Observation]:
    with suppress(OSError, ValueError, IndexError):
        pages = Path("/proc/self/statm").read_text().split()[1]
        yield Observation(int(pages) * os.sysconf("SC_PAGE_SIZE"))


def _meter(reader: InMemoryMetricReader, resource: Resource) -> Meter:
    provider = sdk.MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    return provider.get_meter(settings.scope, package_version())


def send_never_began(flow_name: str, reason: str) -> bool:
    """Count a flow run that ended without having begun, and say whether that was taken."""

    def add(meter: Meter) -> None:
        counter = meter.create_counter(NOT_STARTED, "{run}", "Flow runs that never began.")
        counter.add(1, {REASON: reason, "prefect.flow.name": flow_name})

    return _send_at_once(add)


def send_audit(counts: Mapping[str, int]) -> bool:
    """Send how many spans had each result of an audit, and say whether that was taken."""

    def note(meter: Meter) -> None:
        gauge = meter.create_gauge(AUDIT, "{span}", "Spans by what the last audit found.")
        for result, count in counts.items():
            gauge.set(count, {"result": result})

    return _send_at_once(note)


def load() -> None:
    """Load what counting needs, which takes a busy machine seconds, before time is short."""
    for exporter, _ in _exporters():
        exporter.shutdown()


def _send_at_once(note: Callable[[Meter], None]) -> bool:
    taken = []
    for exporter, reader in _exporters():
        note(_meter(reader, shared_resource()))
        taken.append(exporter.send(reader.get_metrics_data()).kind is Kind.TAKEN)
        exporter.shutdown()
    return bool(taken) and all(taken)


def _exporters() -> Iterator[tuple[Exporter, InMemoryMetricReader]]:
    """Make each exporter, with what reads what is counted for it."""
    for name in chosen_names("METRICS"):
        try:
            made = make_exporter(name, "METRICS")
            pair = Exporter(made, "METRICS"), InMemoryMetricReader(*preferred(made))
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            _logger.warning("nothing is counted for %s: %s", name, error)
        else:
            yield pair
