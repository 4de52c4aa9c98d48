"""One trace as text: a tree of spans with bars over its time, and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from haas_media.wording import lasted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from haas_otel.delivery.store import StoredEvent, StoredSpan

_BAR, _GAP = "█", " "
_SHORTEST_BAR, _SHORTEST_NAME, _LONGEST_NAME = 10, 12, 60
_STATUS = {"OK": "Ok", "ERROR": "Error", "UNSET": ""}


def render_waterfall(spans: Sequence[StoredSpan], width: int = 100) -> str:
    """Return a trace as lines of plain text, at most ``width`` characters wide (60 at least).

    A line for each span, below its parent and in order of start: name, bar over the trace's time,
    duration, status; below it what failed, and its events with their time since the trace's start.
    """
    if not spans:
        return "no spans"
    width = max(60, width)
    start = min(span.start_ns for span in spans)
    end = max(span.end_ns for span in spans)
    rows = list(_in_tree(spans))
    statuses = [span.task_status or _STATUS.get(span.status, span.status) for *_, span in rows]
    durations = [lasted(span.end_ns - span.start_ns) for *_, span in rows]
    status_width = max(map(len, statuses))
    duration_width = max(map(len, durations))
    wanted = max(len(lead) + len(_line(span.name)) for lead, _, span in rows)
    room = width - status_width - duration_width - 6
    name_width = max(_SHORTEST_NAME, min(wanted, _LONGEST_NAME, room - _SHORTEST_BAR))
    bar_width = max(_SHORTEST_BAR, room - name_width)
    lines = [_title(spans, start, end)]
    for (lead, below, span), status, duration in zip(rows, statuses, durations, strict=True):
        name = _cut(lead + _line(span.name), name_width).ljust(name_width)
        bar = _bar(span, start, end, bar_width)
        lines.append(f"{name}  {bar}  {duration.rjust(duration_width)}  {status}".rstrip())
        lines += [_cut(f"{below}{detail}", width) for detail in _details(span, start)]
    return "\n".join(lines)


def render_json(spans: Sequence[StoredSpan]) -> str:
    """Return spans as a JSON array, in the shape of the telemetry specification's, ids added."""
    return json.dumps([_as_json(span) for span in spans], indent=2, ensure_ascii=False)


def _as_json(span: StoredSpan) -> dict[str, Any]:
    status = {"code": span.status.capitalize()}
    if span.status_description:
        status["description"] = span.status_description
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": span.kind.capitalize(),
        "startTime": _timestamp(span.start_ns),
        "endTime": _timestamp(span.end_ns),
        "status": status,
        "attributes": span.attributes,
        "events": [
            {"name": e.name, "timestamp": _timestamp(e.time_ns)}
            | ({"attributes": e.attributes} if e.attributes else {})
            for e in span.events
        ],
    }


def _timestamp(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % 1_000_000_000 // 1000:06d}Z"


def _title(spans: Sequence[StoredSpan], start: int, end: int) -> str:
    count = f"{len(spans)} span{'s' if len(spans) > 1 else ''}"
    first = min(spans, key=lambda span: span.start_ns)
    return (
        f"trace {first.trace_id}  {count}  {lasted(end - start)}"
        f"  {first.started_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _in_tree(spans: Sequence[StoredSpan]) -> Iterator[tuple[str, str, StoredSpan]]:
    """Yield spans parents first, each with the lead of its own line and of the lines below it."""
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))
    known = {span.span_id for span in spans}
    children: dict[str | None, list[StoredSpan]] = {}
    for span in ordered:
        parent = span.parent_id if span.parent_id in known - {span.span_id} else None
        children.setdefault(parent, []).append(span)
    seen: set[int] = set()
    # Spans that are each other's parents have no root: they follow as roots themselves.
    for root in [*children.get(None, []), *ordered]:
        stack = [("", "", root)]
        while stack:
            lead, below, span = stack.pop()
            if id(span) in seen:
                continue
            seen.add(id(span))
            inner = children.get(span.span_id, [])
            yield lead, below + ("│ " if inner else "  "), span
            for child in reversed(inner):
                last = child is inner[-1]
                branch, rest = ("└─ ", "   ") if last else ("├─ ", "│  ")
                stack.append((below + branch, below + rest, child))


def _details(span: StoredSpan, start: int) -> Iterator[str]:
    kind = span.attributes.get("exception.type") if span.is_task else None
    if span.status_description:
        yield f"✗ {_line(': '.join(filter(None, [kind, span.status_description])))}"
    for event in span.events:
        yield f"· {_line(event.name)} +{lasted(event.time_ns - start)}{_attributes(event)}"


def _attributes(event: StoredEvent) -> str:
    shown = [
        f" {_line(key.rpartition('.')[2])}={_line(str(value))}"
        for key, value in event.attributes.items()
        if key != "exception.stacktrace"
    ]
    return "".join(shown)


def _bar(span: StoredSpan, start: int, end: int, width: int) -> str:
    whole = max(1, end - start)
    first = min(width - 1, (span.start_ns - start) * width // whole)
    # Rounded up, so that every span is seen.
    last = max(first + 1, -((start - span.end_ns) * width // whole))
    last = min(width, last)
    return _GAP * first + _BAR * (last - first) + _GAP * (width - last)


def _line(text: str) -> str:
    """Return text on one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
