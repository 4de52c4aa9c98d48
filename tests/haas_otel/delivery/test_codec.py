"""A span that went through JSON is the span that ended: each field, and each byte on the wire."""

from __future__ import annotations

import json
from collections import UserDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from haas_otel.delivery.codec import decode, encode

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
keys = text.filter(bool)
int64 = st.integers(-(2**63), 2**63 - 1)
scalars = st.one_of(
    text, st.booleans(), int64, st.floats(allow_nan=False), st.binary(max_size=9), st.none()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
times = st.integers(0, 2**63 - 1)


def bounded(attributes: dict[str, Any], dropped: int) -> BoundedAttributes:
    made = BoundedAttributes(attributes=attributes)
    made.dropped = dropped
    return made


attributes = st.builds(bounded, st.dictionaries(keys, values, max_size=4), st.integers(0, 2**31))
states = st.sampled_from(
    [None, TraceState([("vendor", "x=y")]), TraceState([("a", "1"), ("b", "2")])]
)
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.integers(0, 255).map(TraceFlags),
    states,
)
events = st.builds(Event, text, attributes, times)
links = st.builds(Link, contexts, attributes)
statuses = st.one_of(
    st.just(Status(StatusCode.OK)),
    st.just(Status()),
    text.map(lambda description: Status(StatusCode.ERROR, description)),
)


def bounded_list(items: list[Any], dropped: int) -> BoundedList:
    made = BoundedList.from_seq(None, items)
    made.dropped = dropped
    return made


def lists_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[BoundedList]:
    return st.builds(bounded_list, st.lists(items, max_size=3), st.integers(0, 2**31))


resources = st.builds(Resource, st.dictionaries(keys, values, max_size=3), text)
scopes = st.one_of(
    st.none(),
    st.builds(
        InstrumentationScope,
        text,
        st.one_of(st.none(), text),
        st.one_of(st.none(), text),
        st.dictionaries(keys, values, max_size=2),
    ),
)
spans = st.builds(
    ReadableSpan,
    name=text,
    context=contexts,
    parent=st.one_of(st.none(), contexts),
    resource=resources,
    attributes=attributes,
    events=lists_of(events),
    links=lists_of(links),
    kind=st.sampled_from(list(SpanKind)),
    status=statuses,
    start_time=times,
    end_time=times,
    instrumentation_scope=scopes,
)


@given(span=spans)
def test_a_span_comes_back_as_it_was(span: ReadableSpan) -> None:
    line = encode(span)
    back = decode(line.decode())

    assert b"\n" not in line
    json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert encode(back) == line
    assert encode_spans([back]) == encode_spans([span])


def test_one_encoder_tells_resources_and_scopes_apart_and_shares_what_is_shared() -> None:
    """The exporter groups by resource, and hashes it for each span."""
    resources = {name: Resource({"n": name}) for name in "ab"}
    scopes = {name: InstrumentationScope(name) for name in "ab"}
    made = [
        ReadableSpan(name, resource=resources[name], instrumentation_scope=scopes[name])
        for name in "aaba"
    ]

    back = [decode(encode(span).decode()) for span in made]

    assert [s.resource.attributes["n"] for s in back] == ["a", "a", "b", "a"]
    assert [s.instrumentation_scope.name for s in back] == ["a", "a", "b", "a"]
    assert back[0].resource is back[1].resource


def test_a_file_name_that_is_no_utf8_does_not_stop_the_batch() -> None:
    """It is found in exception messages, and exporters refuse whole batches for it."""
    name = b"caf\xe9.mkv".decode("utf-8", "surrogateescape")
    span = ReadableSpan(
        name,
        context=SpanContext(1, 1, False),
        status=Status(StatusCode.ERROR, f"no such file: {name}"),
        attributes=BoundedAttributes(attributes={"exception.message": name, "all": (name, "🎬")}),
    )
    with pytest.raises((UnicodeError, ValueError)):
        encode_spans([span])

    back = decode(encode(span).decode())

    encode_spans([back])
    assert back.name == "caf\\udce9.mkv"
    assert back.status.description == "no such file: caf\\udce9.mkv"
    assert back.attributes == {
        "exception.message": "caf\\udce9.mkv",
        "all": ("caf\\udce9.mkv", "🎬"),
    }


def test_what_the_fast_encoder_refuses_is_encoded_all_the_same() -> None:
    class Text(str):
        __slots__ = ()

    class Float64(float):  # as numpy's
        def __repr__(self) -> str:
            return f"Float64({float(self)})"

    attributes = {
        "large": 2**70,
        "odd": (Text("x"), Float64(0.5)),
        "endless": Float64("inf"),
        "lone": "\udcff",
    }
    events = [Event(404), Event(None)]  # type: ignore[arg-type]
    links = [Link(SpanContext(1, 1, False), UserDict(a=1))]
    span = ReadableSpan("n", attributes=attributes, events=events, links=links)

    back = decode(encode(span).decode())

    assert [event.name for event in back.events] == ["404", "None"]
    assert back.attributes == {
        "large": str(2**70),
        "odd": ("x", 0.5),
        "endless": float("inf"),
        "lone": "\\udcff",
    }
    assert back.links[0].attributes == {"a": 1}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "{}",
        '"span"',
        json.dumps({"name": "x"}),
        '{"dropped": [1]}',
        '{"dropped": 5}',
    ],
)
def test_a_line_that_is_no_span_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a |end of data|empty document|unpack|int"):
        decode(line)
