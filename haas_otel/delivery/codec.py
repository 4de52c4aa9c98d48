r"""A finished span as one line of JSON, and back.

The line holds everything that an exporter may ask of a span, with the types of its attributes, so
that a later process can deliver a span that is equal to the one that ended here. OTLP's own
encoding takes twice as long, on the thread that ends the span, and other exporters do not read it.

What no protocol can carry is replaced here: of file names that are no valid UTF-8, for which
exporters refuse a whole batch, the odd bytes are written out as ``\udcff``, integers beyond 64 bits
are text, and times that are none are the nearest that is one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import lru_cache
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
_LAST_MOMENT = 2**63 - 1
_DEEPEST = 20  # of what is nested: some read 100 levels of OTLP, which has three for each
_MOST_PARTS, _LONGEST_TEXT = 64, 1024  # of a span that was too large
# What the last span shared with others, and its JSON. Replaced as one, so no lock is needed.
_shared: tuple[Any, Any, bytes] = (None, None, b"")


def dump(value: Any) -> bytes:
    """Return JSON on one line."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(carried(value))


def load(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object of one line, raising ValueError when it holds none."""
    document = orjson.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"not a JSON object: {text[:80]!r}")
    return document


def carried(value: Any) -> Any:
    """Return a value, or one made of such, that every protocol carries."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {carried(str(key)): carried(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [carried(each) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return float(value) if isinstance(value, float) else value  # which numpy's are, too


def encode(span: ReadableSpan) -> bytes:
    """Return a finished span as one line of JSON without a line end."""
    global _shared
    status, parent = span.status, span.parent
    own = dump(
        {
            "name": str(span.name),
            "context": _context(span.context),
            "parent": parent and _context(parent),
            "kind": span.kind._name_,
            "start": _moment(span.start_time),
            "end": _moment(span.end_time),
            "status": status.status_code._name_,
            "description": status.description,
            "attributes": _attributes(span.attributes),
            "events": [
                (str(x.name), _moment(x.timestamp), _attributes(x.attributes), x.dropped_attributes)
                for x in span.events
            ],
            "links": [
                (_context(x.context), _attributes(x.attributes), x.dropped_attributes)
                for x in span.links
            ],
            "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        }
    )
    shared, resource, scope = _shared, span.resource, span.instrumentation_scope
    if shared[0] is not resource or shared[1] is not scope:
        fields = scope and (
            *(scope.name, scope.version, scope.schema_url),
            _attributes(scope.attributes),
        )
        of_resource = _attributes(resource.attributes), resource.schema_url
        text = dump({"scope": fields, "resource": of_resource})
        _shared = shared = (resource, scope, text[1:])
    return b"%b,%b" % (own[:-1], shared[2])


def decode(text: str | bytes) -> ReadableSpan:
    """Return the span of a text made by `encode`, raising ValueError for any other.

    Equal resources are one object.
    """
    try:
        return _span(load(text))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not a span: {text[:80]!r}") from error


def _span(document: dict[str, Any]) -> ReadableSpan:
    attributes, events, links = document["dropped"]
    scope = document["scope"]
    return ReadableSpan(
        name=document["name"],
        context=_read_context(document["context"]),
        parent=_read_context(document["parent"]),
        resource=_read_resource(dump(document["resource"])),
        attributes=_read_attributes(document["attributes"], attributes),
        events=_bounded(
            (Event(name, _read_attributes(*a), time) for name, time, *a in document["events"]),
            events,
        ),
        links=_bounded(
            (Link(_read_context(of), _read_attributes(*a)) for of, *a in document["links"]),  # type: ignore[arg-type]
            links,
        ),
        kind=SpanKind[document["kind"]],
        status=Status(StatusCode[document["status"]], document["description"]),
        start_time=document["start"],
        end_time=document["end"],
        instrumentation_scope=scope
        and InstrumentationScope(*(*scope[:3], _read_value({"mapping": scope[3]}))),
    )


@lru_cache(maxsize=16)
def _read_resource(text: bytes) -> Resource:
    attributes, schema_url = orjson.loads(text)
    return Resource(_read_value({"mapping": attributes}), schema_url)


def _moment(value: Any) -> int:
    """Return nanoseconds since the epoch that every protocol can hold."""
    if type(value) is int and 0 <= value <= _LAST_MOMENT:
        return value
    try:
        return max(0, min(int(value), _LAST_MOMENT))
    except (TypeError, ValueError, OverflowError):
        return 0


def _context(context: SpanContext | None) -> tuple[Any, ...] | None:
    if context is None:
        return None
    trace_id, span_id, is_remote, flags, state, _ = context
    states = list(state.items()) if state else None
    return f"{trace_id:032x}", f"{span_id:016x}", int(flags), states, is_remote


def _read_context(fields: list[Any] | None) -> SpanContext | None:
    if fields is None:
        return None
    trace_id, span_id, flags, state, is_remote = fields
    pairs = [(key, value) for key, value in state] if state else None
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(flags), TraceState(pairs)
    )


def _attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    if not attributes:
        return {}
    # The SDK's mappings copy themselves in C; as any other mapping they take ten times as long.
    copied: Any = getattr(attributes, "copy", dict)()
    values = copied if type(copied) is dict else dict(attributes)
    for key, value in values.items():
        if type(value) not in _SCALARS:
            values[key] = _value(value)
    return values


def _value(value: Any, depth: int = 1) -> Any:
    """Return a JSON value; what JSON has no words for, as an object with one key."""
    if isinstance(value, float):
        return value if isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, str | int | None):
        return value
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {"mapping": {str(k): _value(v, depth + 1) for k, v in value.items()}}
    return [_value(each, depth + 1) for each in value]


def _read_attributes(values: dict[str, Any], dropped: int) -> Mapping[str, Any]:
    read: dict[str, Any] = _read_value({"mapping": values})
    if not dropped:
        return read
    attributes = BoundedAttributes(attributes=read)
    attributes.dropped = dropped
    return attributes


def _read_value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read_value(each) for each in value)
    if isinstance(value, dict):
        if "bytes" in value:
            return base64.b64decode(value["bytes"])
        if "float" in value:
            return float(value["float"])
        return {key: _read_value(each) for key, each in value["mapping"].items()}
    return value


def _bounded(items: Iterable[Any], dropped: int) -> Any:
    if not dropped:
        return [*items]
    bounded = BoundedList.from_seq(None, [*items])
    bounded.dropped = dropped
    return bounded


def cut(text: str | bytes) -> bytes:
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
