"""What Azure Monitor's own exporters need besides their variables.

Three things of theirs do not fit: they drop the ``exception.*`` attributes of spans, they keep what
they could not send on a disk of their own, from where it would go out a second time, and of a batch
that is taken in part they say that it was not. Nothing here is imported unless they are chosen.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTION_STRING = "APPLICATIONINSIGHTS_CONNECTION_STRING"
# Threads that report on the exporter itself to its makers, and ask them for settings: each may hold
# up the end of a process for many seconds. Whoever wants them sets these to false.
_ABOUT_ITSELF = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    # It tells the ids of the process, which are another in each run.
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
_TRY_AGAIN = frozenset((408, 429, 439, 500, 502, 503, 504))
_LOGGERS = ("azure.monitor.opentelemetry.exporter.export._base",)


def azure_arguments() -> dict[str, Any]:
    """Return what to make one of the exporters with; raises ValueError where its key is not set.

    Undelivered telemetry, and trying again, are the outbox's.
    """
    if not os.environ.get(CONNECTION_STRING, "").strip():
        raise ValueError(
            f"{CONNECTION_STRING} is not set: copy it from the overview page of the"
            " Application Insights resource"
        )
    for variable in _ABOUT_ITSELF:
        os.environ.setdefault(variable, "true")
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _WithoutKey) for each in logger.filters):
            logger.addFilter(_WithoutKey())
    return {"disable_offline_storage": True, "max_envelopes_per_second": 0, "retry_total": 0}


class AzureSpans(SpanExporter):
    """Hands spans to Azure's exporter as it keeps all of them. For one thread.

    ``exception.type``, ``.message`` and ``.stacktrace`` of a span and its events get the name
    ``task.exception.*``, as in ``deployments/observability/azure/collector.yaml``.
    """

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._taken: set[int] = set()
        self._open: set[int] | None = None
        track = exporter.client.track

        def watched(envelopes: Sequence[Any], **options: Any) -> Any:
            answer = track(envelopes, **options)
            self._note(envelopes, answer[0] if isinstance(answer, tuple) else answer)
            return answer

        exporter.client.track = watched

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send those that were not taken before; success when none is left to be sent."""
        new = [span for span in spans if _id_of(span) not in self._taken]
        self._open = None
        result = self._exporter.export([with_exceptions_kept(span) for span in new])
        if result is not SpanExportResult.SUCCESS and self._open is not None:
            # Taken in part. What was refused for good is in the exporter's own log.
            self._taken |= {_id_of(span) for span in new} - self._open
            if not self._open:
                result = SpanExportResult.SUCCESS
        if result is SpanExportResult.SUCCESS:
            self._taken.difference_update(map(_id_of, spans))
            return SpanExportResult.SUCCESS
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()

    def _note(self, envelopes: Sequence[Any], answer: Any) -> None:
        errors = getattr(answer, "errors", None)
        if errors:
            again = [each.index for each in errors if each.status_code in _TRY_AGAIN]
            self._open = {_span_of(envelopes[index]) for index in again if index is not None}


def with_exceptions_kept(span: ReadableSpan) -> ReadableSpan:
    """Return a span whose ``exception.*`` attributes are called ``task.exception.*`` as well.

    So are those of its events, but for the ``exception`` event, which the exporter knows.
    """
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_kept(span.attributes),
        events=[each if each.name == "exception" else _event_kept(each) for each in span.events],
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _event_kept(event: Event) -> Event:
    return Event(event.name, _kept(event.attributes), event.timestamp)


def _kept(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(attributes or {})
    return given | {f"task.{key}": given[key] for key in given if key.startswith("exception.")}


def _id_of(span: ReadableSpan) -> int:
    return span.context.span_id if span.context else 0


def _span_of(envelope: Any) -> int:
    """Return the id of the span that an envelope tells of: itself, or one of its events."""
    own = getattr(envelope.data.base_data, "id", None)
    return int(own or envelope.tags["ai.operation.parentId"], 16)


class _WithoutKey(logging.Filter):
    """Takes the instrumentation key out of log lines, which show whole envelopes."""

    def filter(self, record: logging.LogRecord) -> bool:
        key = _instrumentation_key()
        if key:
            record.msg = record.getMessage().replace(key, "***")
            record.args = None
        return True


def _instrumentation_key() -> str:
    parts = os.environ.get(CONNECTION_STRING, "").split(";")
    pairs = dict(part.split("=", 1) for part in parts if "=" in part)
    return next((pairs[name] for name in pairs if name.lower() == "instrumentationkey"), "")
