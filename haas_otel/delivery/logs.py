"""Logs of runs and of the library, sent by OTLP with the ids of the span they were written in.

Log lines are handed on in memory: unlike spans and counts, those that are not sent when a process
is killed, or while the collector is down, are lost here. They are in Prefect all the same.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any

from haas_otel.delivery.exporters import chosen_names, make_exporter
from haas_otel.delivery.metrics import lasting

if TYPE_CHECKING:
    from datetime import timedelta

    from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.resources import Resource

_logger = logging.getLogger(__name__)

# Prefect's loggers of runs, and the library's own. None lies within another.
LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "haas_media", "haas_otel", "flows")
_MOST_WAITING, _BATCH, _LINGER_MILLISECONDS = 2048, 512, 1000
_SEVERITIES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What Prefect puts on its records for the API's sake.
_LEFT_OUT = _STANDARD | {"send_to_api"}


class LogSender:
    """The one thread of a process that sends its log lines; it loads the exporters, too.

    ``OTEL_BLRP_MAX_QUEUE_SIZE``, ``OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`` and
    ``OTEL_BLRP_SCHEDULE_DELAY`` (milliseconds) hold.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._most = _whole("OTEL_BLRP_MAX_QUEUE_SIZE", _MOST_WAITING)
        self._batch = _whole("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", _BATCH)
        self._linger = _whole("OTEL_BLRP_SCHEDULE_DELAY", _LINGER_MILLISECONDS) / 1000
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[ReadableLogRecord] = deque(maxlen=self._most)
        self._exporters: list[LogRecordExporter] | None = None
        self._thread: threading.Thread | None = None
        self._ending = False
        self._lost = 0
        self._warned_at = float("-inf")

    def on_emit(self, record: ReadableLogRecord) -> None:
        """Take a line. Never waits; the oldest that waits makes room."""
        if os.getpid() != self._pid:  # a forked child has lines of its own, and no thread
            self._begin()
        with self._changed:
            if self._ending:
                return
            self._lost += len(self._waiting) == self._most
            self._waiting.append(record)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="haas-otel-logs", daemon=True
                )
                self._thread.start()
            elif len(self._waiting) >= self._batch:
                self._changed.notify_all()

    def begin_end(self) -> None:
        """Have all that waits sent at once, and take no more."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def await_end(self, timeout: timedelta) -> None:
        """Wait at most this long until all is sent; what is not is lost."""
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(timeout.total_seconds())

    def _run(self) -> None:
        from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        ending = False
        while not ending:
            with self._changed:
                full_or_ending = lambda: self._ending or len(self._waiting) >= self._batch  # noqa: E731
                self._changed.wait_for(full_or_ending, self._linger)
                ending = self._ending
            while batch := self._take():
                try:
                    self._send(batch)
                except Exception as error:  # noqa: BLE001 - exporters are plugins
                    self._failed(len(batch), error)
        for exporter in self._exporters or []:
            exporter.shutdown()  # type: ignore[no-untyped-call]

    def _take(self) -> list[ReadableLogRecord]:
        with self._changed:
            count = min(self._batch, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _send(self, batch: list[ReadableLogRecord]) -> None:
        from opentelemetry.sdk._logs.export import LogRecordExportResult

        if self._exporters is None:
            self._exporters = [make_exporter(name, "LOGS") for name in self._names]
        for exporter in self._exporters:
            if exporter.export(batch) is not LogRecordExportResult.SUCCESS:
                self._failed(len(batch))

    def _failed(self, count: int, error: Exception | None = None) -> None:
        """Tell how many lines were lost so far, at most once a minute."""
        self._lost += count
        now = time.monotonic()
        if now - self._warned_at >= 60:
            self._warned_at = now
            why = f" ({error})" if error else ""
            _logger.warning(
                "%d log lines were not taken by the collector%s; where it takes no logs,"
                " OTEL_LOGS_EXPORTER=none spares the attempt",
                self._lost,
                why,
            )


class SpanLogHandler(logging.Handler):
    """Turns the records of Python's logging into OpenTelemetry's, within the current span."""

    def __init__(self, sender: LogSender, resource: Resource) -> None:
        super().__init__()
        from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor

        class Handing(LogRecordProcessor):
            def on_emit(self, log_record: ReadWriteLogRecord) -> None:
                sender.on_emit(_readable(log_record))

            def shutdown(self) -> None:
                sender.begin_end()

            def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002
                return True

        self._provider = LoggerProvider(resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(Handing())

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, unless it was written while telemetry is being sent."""
        from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

        # Python prints warnings that no handler takes: this one is not to be the one that does.
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_alone(record.name):
            last.handle(record)
        if get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return
        try:
            self._hand_on(record)
        except Exception:  # noqa: BLE001 - as every handler: logging never fails the program
            self.handleError(record)

    def _is_alone(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True

    def _hand_on(self, record: logging.LogRecord) -> None:
        from opentelemetry._logs import LogRecord
        from opentelemetry.context import get_current
        from opentelemetry.instrumentation.log_utils import std_to_otel

        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                observed_timestamp=time.time_ns(),
                context=get_current(),
                severity_text=_SEVERITIES.get(record.levelname, record.levelname),
                severity_number=std_to_otel(record.levelno),
                body=record.getMessage(),
                attributes=_attributes(record),
            )
        )


def install(resource: Resource) -> LogSender | None:
    """Have the logs sent that ``OTEL_LOGS_EXPORTER`` chooses; None where it chooses none."""
    names = chosen_names("LOGS")
    if not names:
        return None
    sender = LogSender(names)
    handler = SpanLogHandler(sender, lasting(resource))
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    return sender


def _readable(record: ReadWriteLogRecord) -> ReadableLogRecord:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource

    return ReadableLogRecord(
        log_record=record.log_record,
        resource=record.resource or Resource.get_empty(),
        instrumentation_scope=record.instrumentation_scope,
        limits=record.limits,
    )


def _attributes(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record carries beside its text: Prefect's ids and names, place, exception."""
    attributes: dict[str, Any] = {
        key: value if isinstance(value, bool | int | float) else str(value)
        for key, value in vars(record).items()
        if key not in _LEFT_OUT and value is not None
    }
    attributes["code.file.path"] = record.pathname
    attributes["code.function.name"] = record.funcName
    attributes["code.line.number"] = record.lineno
    if record.exc_info and record.exc_info[1] is not None:
        kind, value, _ = record.exc_info
        attributes["exception.type"] = kind.__qualname__ if kind else ""
        attributes["exception.message"] = str(value)
        attributes["exception.stacktrace"] = "".join(traceback.format_exception(value))
    return attributes


def _whole(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip()
    return int(text) if text.isdigit() and int(text) > 0 else default
