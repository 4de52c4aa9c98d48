"""Task runs as events, for backends to show what runs: a span appears when it ends.

That one has started goes the way of log lines, at once. That one has ended is made of its span, as
metrics are, and has a span's life: it survives SIGKILL and a collector that is down, and is there
once for each task run, whichever process ended the span.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, set_span_in_context

from haas_otel import _sdk
from haas_otel.delivery.exporters import Target, chosen_targets, make_exporter
from haas_otel.delivery.metrics import of_task
from haas_otel.delivery.otlp import NOTHING, Answer, Exporter
from haas_otel.span import is_ours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

# Not those of the span: a bridge from log records to span events would add them a second time.
STARTED = "background_task.started"
ENDED = "background_task.ended"


def chosen_events() -> tuple[Target, ...]:
    """Return what ``OTEL_LOGS_EXPORTER`` names."""
    return chosen_targets("LOGS", "events", EndedEvents)


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
