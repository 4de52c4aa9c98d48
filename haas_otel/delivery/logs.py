"""Logs of runs and of the library, sent by OTLP with the ids of their run.

Log lines are handed on in memory: unlike spans and counts, those that are not sent when a process
is killed, or while the collector is down, are lost here. They are in Prefect all the same.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.instrumentation.log_utils import std_to_otel
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from haas_otel._settings import settings
from haas_otel.delivery.codec import utf8
from haas_otel.delivery.exporters import is_otlp, make_exporter
from haas_otel.delivery.otlp import Kind, Otlp
from haas_otel.lines import context_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource

_logger = logging.getLogger(__name__)

_SEVERITIES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
# What is on every record, and what Prefect puts on its own for the API's sake.
_LEFT_OUT = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "send_to_api"}
_WARN_EVERY_SECONDS = 60


def loggers() -> tuple[str, ...]:
    """Return the loggers that are sent: Prefect's of runs, our own, the project's.

    None lies within another.
    """
    return ("prefect.flow_runs", "prefect.task_runs", "haas_otel", *settings.loggers)


class LogExporting(LogRecordExporter):
    """Sends log lines to the exporters of these names, in requests that are not too large.

    The exporters are loaded in the thread that sends, when there is something to send.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._pid = self._lost = 0
        self._exporters: list[Any] = []
        self._warned_at = float("-inf")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send lines; what is not taken is lost, and said."""
        try:
            if self._pid != os.getpid():  # a forked child has connections of its own
                self._pid = os.getpid()
                self._exporters = [make_exporter(name, "LOGS") for name in self._names]
            for exporter in self._exporters:
                self._send(exporter, batch)
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            self._lose(len(batch), str(error))
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002 - the interface
        """Do nothing: nothing is held here."""
        return True

    def shutdown(self) -> None:
        """Close the connections."""
        for exporter in self._exporters:
            exporter.shutdown()

    def _send(self, exporter: Any, batch: Sequence[ReadableLogRecord]) -> None:
        if not is_otlp(exporter):
            if exporter.export(batch) is not LogRecordExportResult.SUCCESS:
                self._lose(len(batch))
            return
        answer = Otlp(exporter, "LOGS").send(batch, divisible=len(batch) > 1)
        if answer.kind in (Kind.TOO_LARGE, Kind.REFUSED) and len(batch) > 1:
            middle = len(batch) // 2
            self._send(exporter, batch[:middle])
            self._send(exporter, batch[middle:])
        elif answer.kind is not Kind.TAKEN or answer.rejected:
            self._lose(answer.rejected or len(batch), answer.reason)

    def _lose(self, count: int, reason: str = "") -> None:
        """Say how many lines were lost so far, at most once a minute."""
        self._lost += count
        if time.monotonic() - self._warned_at >= _WARN_EVERY_SECONDS:
            self._warned_at = time.monotonic()
            _logger.warning(
                "%d log lines were not taken by the collector%s; where it takes no logs,"
                " OTEL_LOGS_EXPORTER=none spares the attempt",
                self._lost,
                reason and f" ({reason})",
            )


class SpanLogHandler(logging.Handler):
    """Turns the records of Python's logging into OpenTelemetry's, in the trace of their run."""

    def __init__(self, exporter: LogRecordExporter, resource: Resource) -> None:
        super().__init__()
        self._processor = BatchLogRecordProcessor(exporter)
        self._provider = LoggerProvider(resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(self._processor)

    def install(self) -> None:
        """Have the lines of runs and of the library handed on."""
        for name in loggers():
            logging.getLogger(name).addHandler(self)

    def end(self, timeout: timedelta) -> None:
        """Have all that waits sent, in this time; what is not is lost."""
        milliseconds = int(timeout.total_seconds() * 1000)
        self._processor._batch_processor.shutdown(milliseconds)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, unless it was written while telemetry is being sent."""
        # Python prints warnings that no handler takes: this one is not to be the one that does.
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_alone(record.name):
            last.handle(record)
        try:
            if not get_value(_SUPPRESS_INSTRUMENTATION_KEY):
                self._provider.get_logger(record.name).emit(_translated(record))
        except Exception:  # noqa: BLE001 - as every handler: logging never fails the program
            self.handleError(record)

    def _is_alone(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


def _translated(record: logging.LogRecord) -> LogRecord:
    """Return a record with what it carries: Prefect's ids and names, place, exception.

    The SDK's own handler is on its way out, and its exporters refuse a batch for one odd byte.
    """
    attributes: dict[str, Any] = {
        utf8(key): value if isinstance(value, bool | int | float) else utf8(str(value))
        for key, value in vars(record).items()
        if key not in _LEFT_OUT and value is not None
    }
    attributes["code.file.path"] = utf8(record.pathname)
    attributes["code.function.name"] = record.funcName
    attributes["code.line.number"] = record.lineno
    if record.exc_info and (error := record.exc_info[1]) is not None:
        attributes["exception.type"] = type(error).__qualname__
        attributes["exception.message"] = utf8(str(error))
        attributes["exception.stacktrace"] = utf8("".join(traceback.format_exception(error)))
    return LogRecord(
        timestamp=int(record.created * 1e9),
        observed_timestamp=time.time_ns(),
        context=context_of(record),
        severity_text=_SEVERITIES.get(record.levelname, record.levelname),
        severity_number=std_to_otel(record.levelno),
        body=utf8(record.getMessage()),
        attributes=attributes,
    )
