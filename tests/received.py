"""What an OTLP request holds, as plain data for tests to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )


@dataclass(frozen=True)
class ReceivedEvent:
    """One event of a span as it arrived."""

    name: str
    time_ns: int
    attributes: dict[str, Any]


@dataclass(frozen=True)
class ReceivedLink:
    """One link of a span as it arrived; ids in lower-case hex."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it arrived; ids in lower-case hex, times in ns since the epoch."""

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    kind: str
    start_ns: int
    end_ns: int
    status_code: str
    status_description: str
    attributes: dict[str, Any]
    events: list[ReceivedEvent]
    links: list[ReceivedLink]
    scope_name: str
    scope_version: str
    resource: dict[str, Any]
    trace_state: str


@dataclass(frozen=True)
class ReceivedRequest:
    """One request that was taken: its signal, and its headers (lower-case names)."""

    signal: str
    headers: dict[str, str]


def decode_spans(message: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    """Yield every span of a request, in its order."""
    for resource_spans in message.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _decode_span(span, scope_spans.scope, resource)


def _decode_span(span: Span, scope: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status_code=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_description=span.status.message,
        attributes=_attributes(span.attributes),
        events=[
            ReceivedEvent(e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events
        ],
        links=[
            ReceivedLink(x.trace_id.hex(), x.span_id.hex(), _attributes(x.attributes))
            for x in span.links
        ],
        scope_name=scope.name,
        scope_version=scope.version,
        resource=resource,
        trace_state=span.trace_state,
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)
