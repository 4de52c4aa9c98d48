"""Logs of runs and of the library, and task runs as events, sent with the ids of their run.

Log lines are handed on in memory: unlike spans and counts, those that are not sent when a process
is killed, or while the collector is down, are lost here. They are in Prefect all the same.

Events are for backends to show what runs: a span appears when it ends. That a task run has started
goes the way of log lines, at once. That one has ended is made of its span, as metrics are, and has
a span's life: it survives SIGKILL and a collector that is down, and is there once for each task
run, whichever process ended the span.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry.context import Context, get_current, get_value
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)
from prefect.context import TaskRunContext

from haas_otel import _sdk, ids
from haas_otel._settings import settings
from haas_otel.delivery.codec import carried
from haas_otel.delivery.exporters import make_exporter
from haas_otel.delivery.limits import positive
from haas_otel.delivery.metrics import of_task
from haas_otel.delivery.otlp import NOTHING, Answer, Exporter, Kind
from haas_otel.delivery.queue import Warnings
from haas_otel.hooks import BODY_OF
from haas_otel.span import failed, is_ours, never_failing, package_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

    from haas_otel.records import Run

# Not those of the span: a bridge from log records to span events would add them a second time.
STARTED = "background_task.started"
ENDED = "background_task.ended"
_SEVERITIES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
# What is on every record, and what Prefect puts on its own for the API's sake.
_LEFT_OUT = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "send_to_api"}


def loggers() -> tuple[str, ...]:
    """Return the loggers that are sent: Prefect's of runs, our own, the project's."""
    return ("prefect.flow_runs", "prefect.task_runs", "haas_otel", *settings.loggers)


class LogExporting(_sdk.LogRecordExporter):  # type: ignore[misc]
    """Sends log lines to the exporters of these names, in requests that are not too large.

    The exporters are loaded in the thread that sends, when there is something to send.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._pid = self._lost = 0
        self._exporters: list[Exporter] = []
        self._warnings = Warnings()

    def export(self, batch: Sequence[Any]) -> Any:
        """Send lines; what is not taken is lost, and said."""
        try:
            if self._pid != os.getpid():  # a forked child has connections of its own
                self._pid = os.getpid()
                self._exporters = [Exporter(make_exporter(n, "LOGS"), "LOGS") for n in self._names]
            for exporter in self._exporters:
                self._send(exporter, batch)
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            self._lose(len(batch), str(error))
        return _sdk.LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002 - the interface
        """Do nothing: nothing is held here."""
        return True

    def shutdown(self) -> None:
        """Close the connections."""
        for exporter in self._exporters:
            exporter.shutdown()

    def _send(self, exporter: Exporter, batch: Sequence[Any]) -> None:
        answer = exporter.send(batch)
        if answer.kind in (Kind.TOO_LARGE, Kind.REFUSED) and len(batch) > 1:
            middle = len(batch) // 2
            self._send(exporter, batch[:middle])
            self._send(exporter, batch[middle:])
        elif answer.kind is not Kind.TAKEN or answer.rejected:
            self._lose(answer.rejected or len(batch), answer.reason)

    def _lose(self, count: int, reason: str = "") -> None:
        """Say how many lines were lost so far, at most once a minute."""
        self._lost += count
        self._warnings.warn(
            "lost",
            "%d log lines were not taken by the collector%s; where it takes no logs,"
            " OTEL_LOGS_EXPORTER=none spares the attempt",
            self._lost,
            reason and f" ({reason})",
        )


class SpanLogHandler(logging.Handler):
    """Turns the records of Python's logging into OpenTelemetry's, in the trace of their run."""

    def __init__(self, exporter: LogExporting, resource: Resource) -> None:
        super().__init__()
        # By itself it refuses to start with a number that is none, or where more go than can wait.
        most = positive("OTEL_BLRP_MAX_QUEUE_SIZE", 2048)
        batch = min(positive("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", 512), most)
        delay = positive("OTEL_BLRP_SCHEDULE_DELAY", 1000)
        self._processor = _sdk.BatchLogRecordProcessor(exporter, delay, batch, max_queue_size=most)
        self._provider = _sdk.LoggerProvider(resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(self._processor)
        # Once: to look the version up reads the disk, which no task's start is to wait for.
        self._events = self._provider.get_logger(settings.scope, package_version())

    def install(self) -> None:
        """Have the lines of runs and of the library handed on, each once."""
        found = map(logging.getLogger, loggers())
        for logger in sorted(found, key=lambda each: (each is not logging.root, each.name)):
            if self not in _handlers_of(logger):  # what is above it came first
                logger.addHandler(self)

    def announce(self, span: Span, run: Run) -> None:
        """Hand on the event that a task run has started, if its span is sampled."""
        context = span.get_span_context()
        if context.trace_flags.sampled:
            with never_failing():
                self._events.emit(event(STARTED, context, run.attributes, run.start))

    def end(self, timeout: timedelta) -> None:
        """Have all that waits sent, in this time; what is not is lost."""
        _sdk.shut_down_in(self._processor, timeout)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, unless it was written while telemetry is being sent."""
        # Python prints warnings that no handler takes: this one is not to be the one that does.
        last, handlers = logging.lastResort, _handlers_of(logging.getLogger(record.name))
        if last is not None and record.levelno >= last.level and {*handlers} == {self}:
            last.handle(record)
        try:
            if not get_value(_sdk._SUPPRESS_INSTRUMENTATION_KEY):
                self._provider.get_logger(record.name).emit(_translated(record))
        except Exception:  # noqa: BLE001 - as every handler: logging never fails the program
            self.handleError(record)


def _handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    """Return who gets the records of a logger: its own handlers, and those of what is above."""
    above = logger.parent if logger.propagate else None
    return [*logger.handlers, *(_handlers_of(above) if above else ())]


def _translated(record: logging.LogRecord) -> Any:
    """Return a record with what it carries: Prefect's ids and names, place, exception.

    The SDK's own handler is on its way out, and its exporters refuse a batch for one odd byte.
    """
    attributes: dict[str, Any] = {
        key: value if isinstance(value, bool | int | float) else str(value)
        for key, value in vars(record).items()
        if key not in _LEFT_OUT and value is not None
    }
    attributes["code.file.path"] = record.pathname
    attributes["code.function.name"] = record.funcName
    attributes["code.line.number"] = record.lineno
    if record.exc_info and (error := record.exc_info[1]) is not None:
        said = failed(error, 0)
        attributes["exception.type"] = said.exception_type
        attributes["exception.message"] = said.message
        attributes["exception.stacktrace"] = said.stacktrace
    return _sdk.LogRecord(
        timestamp=int(record.created * 1e9),
        observed_timestamp=time.time_ns(),
        context=_context_of(record),
        severity_text=_SEVERITIES.get(record.levelname, record.levelname),
        severity_number=_sdk.std_to_otel(record.levelno),
        body=carried(record.getMessage()),
        attributes=carried(attributes),
    )


def _context_of(record: logging.LogRecord) -> Context:
    """Return the context whose trace and span a log line belongs to.

    That is the current one within a task's body. A line of a task run that is written elsewhere
    belongs to that task's span, and one of a flow run to its trace.
    """
    task_run_id, flow_run_id = _runs_of(record)
    if task_run_id is not None:
        is_own = get_value(BODY_OF) == task_run_id
    else:
        is_own = flow_run_id is None or get_current_span().get_span_context().is_valid
    if is_own:
        return get_current()
    span_id = ids.span_id_of(task_run_id) if task_run_id else 0
    own = SpanContext(ids.trace_of(task_run_id, flow_run_id), span_id, is_remote=False)
    return set_span_in_context(NonRecordingSpan(own), Context())


def _runs_of(record: logging.LogRecord) -> tuple[UUID | None, UUID | None]:
    """Return the task run and the flow run of a line: Prefect's names on it, else those at hand."""
    given = [_id(getattr(record, name, None)) for name in ("task_run_id", "flow_run_id")]
    if any(given):
        return given[0], given[1]
    if of_task := TaskRunContext.get():
        return of_task.task_run.id, of_task.task_run.flow_run_id
    flow_run = ids.current_flow_run()
    return None, flow_run.id if flow_run else None


def _id(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:  # Prefect writes <unknown> where it does not know
        return None


def event(name: str, of: SpanContext | None, attributes: Mapping[str, Any], at: int) -> Any:
    """Return a log record with a span's ids; ``at`` in nanoseconds since the epoch."""
    return _sdk.LogRecord(
        timestamp=at,
        observed_timestamp=time.time_ns(),
        context=set_span_in_context(NonRecordingSpan(of or INVALID_SPAN_CONTEXT), Context()),
        severity_text="INFO",
        severity_number=_sdk.std_to_otel(20),
        body=name,
        attributes={key: value for key, value in attributes.items() if is_ours(key)},
        event_name=name,
    )


class EndedEvents(Exporter):
    """Takes finished spans and sends an event for each task run."""

    def __init__(self, name: str) -> None:
        super().__init__(make_exporter(name, "LOGS"), "LOGS", optional=True)

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Send the events of the task spans among these."""
        records = [
            _sdk.ReadableLogRecord(
                event(ENDED, span.context, attributes, span.end_time or 0),
                span.resource,
                span.instrumentation_scope,
            )
            for span in spans
            if (attributes := of_task(span))
        ]
        return super().send(records) if records else NOTHING
