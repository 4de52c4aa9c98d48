r"""A finished span as one line of JSON, and back.

The line holds everything that an exporter may ask of a span, with the types of its attributes, so
that a later process can deliver a span that is equal to the one that ended here. OTLP's own
encoding takes twice as long, on the thread that ends the span, and other exporters do not read it.

What no protocol can carry is replaced here: of file names that are no valid UTF-8, for which
exporters refuse a whole batch, the odd bytes are written out as ``\udcff``, and integers beyond 64
bits are text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

# What JSON holds as it is; a float only when it is a number.
_SCALARS = frozenset((str, bool, int, type(None)))
_MOST_PARTS, _LONGEST_TEXT = 64, 1024  # of a span that was too large
_NAME_OF = {kind: kind.name for kind in (*SpanKind, *StatusCode)}


def dump(value: Any) -> bytes:
    """Return JSON on one line."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_carried(value))


def load(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object of one line, raising ValueError when it holds none."""
    document = orjson.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"not a JSON object: {text[:80]!r}")
    return document


def utf8(text: str) -> str:
    """Return text that every protocol carries: what is no valid UTF-8 is written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _carried(value: Any) -> Any:
    if isinstance(value, str):
        return utf8(value)
    if isinstance(value, Mapping):
        return {utf8(str(key)): _carried(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_carried(each) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


class SpanEncoder:
    """Turn finished spans into JSON; remembers the text of what all spans of a process share."""

    def __init__(self) -> None:
        # Pairs of an object and its text: replaced together, so no lock is needed.
        self._resource: tuple[Resource | None, bytes] = (None, b"[]")
        self._scope: tuple[InstrumentationScope | None, bytes] = (None, b"null")

    def encode(self, span: ReadableSpan) -> bytes:
        """Return the span as one line of JSON without a line end."""
        status, parent, links = span.status, span.parent, span.links
        own = dump(
            {
                "name": span.name,
                "context": _context(span.context) if span.context else None,
                "parent": _context(parent) if parent else None,
                "kind": _NAME_OF[span.kind],
                "start": span.start_time,
                "end": span.end_time,
                "status": _NAME_OF[status.status_code],
                "description": status.description,
                "attributes": _attributes(span.attributes),
                "events": [
                    (
                        each.name,
                        each.timestamp,
                        _attributes(each.attributes),
                        each.dropped_attributes,
                    )
                    for each in span.events
                ],
                "links": links
                and [
                    (_context(x.context), _attributes(x.attributes), x.dropped_attributes)
                    for x in links
                ],
                "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
            }
        )
        resource, scope = self._resource, self._scope
        if resource[0] is not span.resource:
            of_all = span.resource
            resource = (of_all, dump([_attributes(of_all.attributes), of_all.schema_url]))
            self._resource = resource
        if scope[0] is not span.instrumentation_scope:
            scope = (span.instrumentation_scope, dump(_scope(span.instrumentation_scope)))
            self._scope = scope
        return b'%b,"scope":%b,"resource":%b}' % (own[:-1], scope[1], resource[1])


class SpanDecoder:
    """Turn JSON back into spans; gives equal resources as one object."""

    def __init__(self) -> None:
        self._resource: tuple[list[Any], Resource] | None = None

    def decode(self, text: str | bytes) -> ReadableSpan:
        """Return the span of a text made by `SpanEncoder`, raising ValueError for any other."""
        try:
            return self._span(load(text))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not a span: {text[:80]!r}") from error

    def _span(self, document: dict[str, Any]) -> ReadableSpan:
        attributes, events, links = document["dropped"]
        fields = document["resource"]
        if self._resource is None or self._resource[0] != fields:
            self._resource = (fields, Resource(_read_values(fields[0]), fields[1]))
        return ReadableSpan(
            name=document["name"],
            context=_read_context(document["context"]),
            parent=_read_context(document["parent"]),
            resource=self._resource[1],
            attributes=_read_attributes(document["attributes"], attributes),
            events=_bounded(
                [
                    Event(name, _read_attributes(values, dropped), time)
                    for name, time, values, dropped in document["events"]
                ],
                events,
            ),
            links=_bounded(
                [
                    Link(_read_context(context), _read_attributes(values, dropped))  # type: ignore[arg-type]
                    for context, values, dropped in document["links"]
                ],
                links,
            ),
            kind=SpanKind[document["kind"]],
            status=Status(StatusCode[document["status"]], document["description"]),
            start_time=document["start"],
            end_time=document["end"],
            instrumentation_scope=_read_scope(document["scope"]),
        )


def _context(context: SpanContext) -> tuple[Any, ...]:
    state = context.trace_state
    return (
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        int(context.trace_flags),
        list(state.items()) if state else None,
        context.is_remote,
    )


def _read_context(fields: list[Any] | None) -> SpanContext | None:
    if fields is None:
        return None
    trace_id, span_id, flags, state, is_remote = fields
    pairs = [(key, value) for key, value in state] if state else None
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(flags), TraceState(pairs)
    )


def _scope(scope: InstrumentationScope | None) -> list[Any] | None:
    if scope is None:
        return None
    return [scope.name, scope.version, scope.schema_url, _attributes(scope.attributes)]


def _read_scope(fields: list[Any] | None) -> InstrumentationScope | None:
    if fields is None:
        return None
    name, version, schema_url, values = fields
    return InstrumentationScope(name, version, schema_url, _read_values(values))


def _attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    if not attributes:
        return {}
    # The SDK's mappings copy themselves in C; as any other mapping they take ten times as long.
    copy = getattr(attributes, "copy", None)
    values = copy() if copy else None
    if type(values) is not dict:
        values = dict(attributes)
    for key, value in values.items():
        if type(value) not in _SCALARS:
            values[key] = _value(value)
    return values


def _value(value: Any) -> Any:
    """Return a JSON value; what JSON has no words for, as an object with one key."""
    if isinstance(value, float):
        return value if isfinite(value) else {"float": repr(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"mapping": {str(k): _value(v) for k, v in value.items()}}
    if isinstance(value, str | int | None):
        return value
    return [_value(each) for each in value]


def _read_attributes(values: dict[str, Any], dropped: int) -> BoundedAttributes:
    attributes = BoundedAttributes(attributes=_read_values(values), immutable=True)
    attributes.dropped = dropped
    return attributes


def _read_values(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _read_value(value) for key, value in values.items()}


def _read_value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read_value(each) for each in value)
    if isinstance(value, dict):
        if "bytes" in value:
            return base64.b64decode(value["bytes"])
        return float(value["float"]) if "float" in value else _read_values(value["mapping"])
    return value


def _bounded(items: list[Any], dropped: int) -> Any:
    bounded = BoundedList.from_seq(None, items)
    bounded.dropped = dropped
    return bounded


def cut(text: str) -> bytes:
    """Return the JSON of a span that was too large, shortened to some hundred kilobytes at most.

    Long texts are cut, and of many attributes, events or links the last are left out, but for the
    attributes of the task and its exception. ``haas_otel.cut`` says so on the span.
    """
    span = load(text)
    # Stable: what is the task's comes first, the rest as it was.
    keys = sorted(span["attributes"], key=lambda key: not key.startswith(("task.", "exception.")))
    span["attributes"] = {key: span["attributes"][key] for key in keys}
    resource = span.pop("resource")
    span = _shortened(span)
    span["attributes"]["haas_otel.cut"] = True
    return dump(span | {"resource": resource})


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        return f"{value[:half]}…{value[-half:]}"
    if isinstance(value, list):
        return [_shortened(each) for each in value[:_MOST_PARTS]]
    if isinstance(value, dict):
        return {_shortened(key): _shortened(value[key]) for key in list(value)[:_MOST_PARTS]}
    return value
