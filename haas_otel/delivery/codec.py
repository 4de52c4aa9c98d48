"""A finished span as one line of JSON, and back.

The line holds everything that an exporter may ask of a span, with the types of its attributes, so
that a later process can deliver a span that is equal to the one that ended here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What JSON holds as it is; a float only when it is a number.
_SCALARS = frozenset((str, bool, int, type(None)))
_MOST_PARTS, _LONGEST_TEXT = 64, 1024  # of a span that was too large
_KINDS = {kind.name: kind for kind in SpanKind}
_STATUS_CODES = {code.name: code for code in StatusCode}


def dump(value: Any) -> bytes:
    """Return JSON on one line.

    orjson takes a tenth of the time, on the thread that ends the span. What it refuses (integers
    beyond 64 bits, lone surrogates, odd subclasses) is left to the standard library.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


class SpanEncoder:
    """Turn finished spans into JSON; remembers the text of what all spans of a process share."""

    def __init__(self) -> None:
        # Pairs of an object and its text: replaced together, so no lock is needed.
        self._resource: tuple[Resource | None, bytes] = (None, b"[]")
        self._scope: tuple[InstrumentationScope | None, bytes] = (None, b"null")

    def encode(self, span: ReadableSpan) -> bytes:
        """Return the span as one line of JSON without a line end."""
        context = span.context
        status = span.status
        own = dump(
            {
                "name": span.name,
                "context": _context(context) if context else None,
                "parent": _context(span.parent) if span.parent else None,
                "kind": span.kind.name,
                "start": span.start_time,
                "end": span.end_time,
                "status": status.status_code.name,
                "description": status.description,
                "attributes": _attributes(span.attributes),
                "events": [_event(event) for event in span.events],
                "links": [_link(link) for link in span.links],
                "dropped": [span.dropped_attributes, span.dropped_events, span.dropped_links],
            }
        )
        scope = self._scope_text(span.instrumentation_scope)
        resource = self._resource_text(span.resource)
        return b'%b,"scope":%b,"resource":%b}' % (own[:-1], scope, resource)

    def _resource_text(self, resource: Resource) -> bytes:
        known, text = self._resource
        if known is not resource:
            fields = [_attributes(resource.attributes), resource.schema_url]
            text = dump(fields)
            self._resource = (resource, text)
        return text

    def _scope_text(self, scope: InstrumentationScope | None) -> bytes:
        known, text = self._scope
        if known is not scope:
            text = dump(scope and _scope(scope))
            self._scope = (scope, text)
        return text


class SpanDecoder:
    """Turn JSON back into spans; gives equal resources and scopes as one object."""

    def __init__(self) -> None:
        self._resources: dict[bytes, Resource] = {}

    def decode(self, text: str) -> ReadableSpan:
        """Return the span of a text made by `SpanEncoder`, raising ValueError for any other."""
        try:
            return self._span(load(text))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not a span: {text[:80]!r}") from error

    def _span(self, document: dict[str, Any]) -> ReadableSpan:
        attributes, events, links = document["dropped"]
        return ReadableSpan(
            name=document["name"],
            context=_read_context(document["context"]),
            parent=_read_context(document["parent"]),
            resource=self._resource(document["resource"]),
            attributes=_read_attributes(document["attributes"], attributes),
            events=_bounded([_read_event(each) for each in document["events"]], events),
            links=_bounded([_read_link(each) for each in document["links"]], links),
            kind=_KINDS[document["kind"]],
            status=Status(_STATUS_CODES[document["status"]], document["description"]),
            start_time=document["start"],
            end_time=document["end"],
            instrumentation_scope=_read_scope(document["scope"]),
        )

    def _resource(self, fields: list[Any]) -> Resource:
        key = dump(fields)
        if key not in self._resources:
            self._resources = {key: Resource(_read_values(fields[0]), fields[1])}
        return self._resources[key]


def load(text: str) -> dict[str, Any]:
    r"""Return the JSON object of one line, raising ValueError when it holds none.

    File names that are no valid UTF-8 come as lone surrogates, which no protocol can carry and
    for which exporters refuse a whole batch: they are written out as ``\udcff``.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"not a JSON object: {text[:80]!r}")
    return _without_surrogates(document) if "\\ud" in text else document


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


def _context(context: SpanContext) -> list[Any]:
    return [
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        int(context.trace_flags),
        list(context.trace_state.items()) if context.trace_state else None,
        context.is_remote,
    ]


def _read_context(fields: list[Any] | None) -> SpanContext | None:
    if fields is None:
        return None
    trace_id, span_id, flags, state, is_remote = fields
    pairs = [(key, value) for key, value in state] if state else None
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(flags), TraceState(pairs)
    )


def _attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    # The SDK's mappings copy themselves in C; as any other mapping they take ten times as long.
    copy = getattr(attributes, "copy", None)
    values = copy() if copy else None
    if type(values) is not dict:
        values = dict(attributes or {})
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
        if "float" in value:
            return float(value["float"])
        return _read_values(value["mapping"])
    return value


def _event(event: Event) -> list[Any]:
    return [event.name, event.timestamp, _attributes(event.attributes), event.dropped_attributes]


def _read_event(fields: list[Any]) -> Event:
    name, timestamp, values, dropped = fields
    return Event(name, _read_attributes(values, dropped), timestamp)


def _link(link: Link) -> list[Any]:
    return [_context(link.context), _attributes(link.attributes), link.dropped_attributes]


def _read_link(fields: list[Any]) -> Link:
    context, values, dropped = fields
    read = _read_context(context)
    if read is None:
        raise ValueError("a link without a context")
    return Link(read, _read_attributes(values, dropped))


def _scope(scope: InstrumentationScope) -> list[Any]:
    return [scope.name, scope.version, scope.schema_url, _attributes(scope.attributes)]


def _read_scope(fields: list[Any] | None) -> InstrumentationScope | None:
    if fields is None:
        return None
    name, version, schema_url, values = fields
    return InstrumentationScope(name, version, schema_url, _read_values(values))


def _bounded(items: Sequence[Any], dropped: int) -> Sequence[Any]:
    bounded: Iterable[Any] = BoundedList.from_seq(None, items)
    bounded.dropped = dropped  # type: ignore[attr-defined]
    return bounded  # type: ignore[return-value]


def cut(text: str) -> str:
    """Return the JSON of a span that was too large, shortened to some hundred kilobytes at most.

    Long texts are cut, and of many attributes, events or links the last are left out, but for the
    attributes of the task and its exception. ``haas_otel.cut`` says so on the span.
    """
    span = load(text)
    attributes = span["attributes"]
    kept = [key for key in attributes if key.startswith(("task.", "exception."))]
    kept += [key for key in attributes if key not in kept][: max(0, _MOST_PARTS - len(kept))]
    span["attributes"] = {key: _shortened(attributes[key]) for key in kept}
    span["attributes"]["haas_otel.cut"] = True
    span["events"] = [
        [_shortened(name), time, _few(values), dropped]
        for name, time, values, dropped in span["events"][:_MOST_PARTS]
    ]
    span["links"] = [
        [context, _few(values), dropped] for context, values, dropped in span["links"][:_MOST_PARTS]
    ]
    for key in ("name", "description"):
        span[key] = _shortened(span[key])
    return dump(span).decode()


def _few(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _shortened(values[key]) for key in list(values)[:8]}


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        half = _LONGEST_TEXT // 2
        return value if len(value) <= _LONGEST_TEXT else f"{value[:half]}…{value[-half:]}"
    if isinstance(value, list):
        return [_shortened(each) for each in value[:8]]
    return "…" if isinstance(value, dict) else value
