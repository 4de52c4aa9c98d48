"""The three queries, one trace by any of its ids, and what is said when there is none."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from deployments.waterfall import render_json, render_waterfall
from haas_otel.delivery.index import IndexUnusable
from haas_otel.delivery.limits import Limits
from haas_otel.delivery.processor import DurableSpanProcessor
from haas_otel.delivery.segments import Journal
from haas_otel.delivery.store import (
    AmbiguousTrace,
    StoredSpan,
    TraceNotFound,
    TraceStore,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_otel.given import MonkeyPatch

MS = 1_000_000
BEGIN = 1_760_695_800_123 * MS  # 2025-10-17T10:10:00.123Z


class Writer:
    """Write spans into a store as a process does."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processor = DurableSpanProcessor(Journal(directory), (), Limits())
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self.tasks = provider.get_tracer("Haas.Media.BackgroundTasks", "0.1.0")
        self.others = provider.get_tracer("opentelemetry.instrumentation.httpx", "1")

    def task(
        self,
        task_type: str,
        status: str = "Completed",
        at_ms: int = 0,
        for_ms: float = 10.0,
        parent: Any = None,
        **attributes: Any,
    ) -> Any:
        start = BEGIN + at_ms * MS
        number = len(str(attributes)) + at_ms
        span = self.tasks.start_span(
            f"BackgroundTask.{task_type}",
            set_span_in_context(parent) if parent else None,
            start_time=start,
            attributes={
                "task.id": f"01932b4e-7890-7abc-def0-{number:012x}",
                "task.type": task_type,
                "task.name": "A task",
                "task.status": status,
                "task.duration_ms": for_ms,
                **attributes,
            },
        )
        span.add_event("task.started", timestamp=start + 2 * MS)
        span.set_status(
            Status(StatusCode.OK)
            if status == "Completed"
            else Status(StatusCode.ERROR, "Task was cancelled" if status == "Cancelled" else "boom")
        )
        span.end(start + int(for_ms * MS))
        return span

    def child(self, name: str, parent: Any, at_ms: int, for_ms: int, **attributes: Any) -> Any:
        span = self.others.start_span(
            name, set_span_in_context(parent), start_time=BEGIN + at_ms * MS, attributes=attributes
        )
        span.end(BEGIN + (at_ms + for_ms) * MS)
        return span

    def read(self) -> TraceStore:
        """End as a process does, and open what is stored."""
        self._processor.shutdown(timedelta(seconds=20))
        return TraceStore(self._directory)


@pytest.fixture
def writer(directory: Path) -> Writer:
    return Writer(directory)


@pytest.fixture
def filled(writer: Writer) -> TraceStore:
    writer.task("MetadataScanTask", at_ms=0, for_ms=135_555.0)
    writer.task("PersonCleanupTask", "Failed", at_ms=1000, for_ms=5123.0)
    writer.task("EncodingTask", "Cancelled", at_ms=2000, for_ms=400_000.0)
    writer.task("EncodingTask", at_ms=3000, for_ms=300_000.0)
    return writer.read()


def types(spans: list[StoredSpan]) -> list[str | None]:
    return [span.task_type for span in spans]


def test_tasks_are_found_by_failure_by_length_and_by_type(filled: TraceStore) -> None:
    slow = timedelta(minutes=5)
    (failed,) = filled.tasks(failed=True)
    assert (failed.task_type, failed.status_description) == ("PersonCleanupTask", "boom")
    (long,) = filled.tasks(slower_than=slow)
    assert (long.task_status, long.end_ns - long.start_ns) == ("Cancelled", 400_000 * MS)
    assert types(filled.tasks(task_type="MetadataScanTask")) == ["MetadataScanTask"]
    assert filled.tasks(task_type="metadatascantask") == []
    assert filled.tasks(slower_than=slow, task_type="EncodingTask") == [long]
    assert filled.tasks(slower_than=slow, failed=True) == []


@pytest.mark.xfail(
    not BoundedAttributes(attributes={"nested": {"a": 1}}),
    reason="before 1.43 the SDK takes neither",
    strict=True,
)
def test_bytes_and_nested_attributes_are_told(writer: Writer) -> None:
    writer.task("MetadataScanTask", raw=b"\0\1", nested={"a": [1, b"\2"]})

    (span,) = writer.read().tasks()

    assert span.attributes["raw"] == "AAE="
    assert span.attributes["nested"] == {"a": [1, "Ag=="]}


def test_json_has_the_shape_of_the_specification(writer: Writer) -> None:
    task = writer.task("PersonCleanupTask", "Failed", for_ms=5123.0)
    child = writer.child("GET", task, 1, 2)
    store = writer.read()

    told = json.loads(render_json(store.trace(f"{task.context.trace_id:032x}")))

    assert told[0] == {
        "traceId": f"{task.context.trace_id:032x}",
        "spanId": f"{task.context.span_id:016x}",
        "parentSpanId": None,
        "name": "BackgroundTask.PersonCleanupTask",
        "kind": "Internal",
        "startTime": "2025-10-17T10:10:00.123000Z",
        "endTime": "2025-10-17T10:10:05.246000Z",
        "status": {"code": "Error", "description": "boom"},
        "attributes": {
            "task.id": "01932b4e-7890-7abc-def0-000000000002",
            "task.type": "PersonCleanupTask",
            "task.name": "A task",
            "task.status": "Failed",
            "task.duration_ms": 5123.0,
        },
        "events": [{"name": "task.started", "timestamp": "2025-10-17T10:10:00.125000Z"}],
    }
    assert told[1]["parentSpanId"] == told[0]["spanId"]
    assert told[1]["spanId"] == f"{child.context.span_id:016x}"
    assert told[1]["status"] == {"code": "Unset"}


def test_a_trace_is_found_by_each_of_its_ids(writer: Writer) -> None:
    task = writer.task("MetadataScanTask", at_ms=7)
    writer.child("GET", task, 8, 1)
    writer.task("EncodingTask", at_ms=9)
    store = writer.read()
    trace_id = f"{task.context.trace_id:032x}"
    dashed = "-".join(
        [trace_id[:8], trace_id[8:12], trace_id[12:16], trace_id[16:20], trace_id[20:]]
    )

    for identifier in (
        trace_id,
        trace_id[:12].upper(),
        dashed,
        f" {task.attributes['task.id']} ",
        task.attributes["task.id"].replace("-", ""),
    ):
        assert [span.name for span in store.trace(identifier)] == [
            "BackgroundTask.MetadataScanTask",
            "GET",
        ], identifier


def test_an_id_that_is_not_there_is_said(filled: TraceStore) -> None:
    with pytest.raises(
        TraceNotFound, match=r"no trace and no task run 'ffffffffffff' in .*traces\.db"
    ):
        filled.trace("ffffffffffff")


@pytest.mark.parametrize("identifier", ["", "  ", "scan", "--", "0193%"])
def test_what_is_no_id_is_said(filled: TraceStore, identifier: str) -> None:
    with pytest.raises(TraceNotFound, match="is no id: give a trace id"):
        filled.trace(identifier)


def test_several_traces_that_begin_alike_are_listed(writer: Writer) -> None:
    for number in range(12):
        writer.task("MetadataScanTask", at_ms=number)
    store = writer.read()

    with pytest.raises(AmbiguousTrace) as told:
        store.trace("01932b4e")

    lines = str(told.value).splitlines()
    assert lines[0] == "12 traces begin like '01932b4e'; give more of the id:"
    assert lines[1].endswith("2025-10-17 10:10:00  BackgroundTask.MetadataScanTask")
    assert len(lines) == 12
    assert lines[-1] == "  ..."


def test_a_store_that_was_never_written_to_is_empty(
    directory: Path, monkeypatch: MonkeyPatch
) -> None:
    assert TraceStore(directory).tasks() == []
    monkeypatch.setenv("HAAS_OTEL_DIR", str(directory))
    with pytest.raises(TraceNotFound):
        TraceStore().trace("abc")
    assert not directory.exists()
    directory.mkdir()
    assert TraceStore(directory).tasks() == []


def test_a_store_that_cannot_be_read_is_said(directory: Path) -> None:
    directory.mkdir()
    with sqlite3.connect(directory / "traces.db") as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(IndexUnusable, match=r"traces\.db"):
        TraceStore(directory).tasks()


def span(
    name: str, span_id: str, parent: str | None, at_ms: float, for_ms: float, **more: Any
) -> StoredSpan:
    start = BEGIN + int(at_ms * MS)
    told: dict[str, Any] = {"kind": "INTERNAL", "status": "UNSET", "status_description": None}
    told |= {"attributes": {}, **more}
    return StoredSpan(
        "0193" * 8, span_id, parent, name, start_ns=start, end_ns=start + int(for_ms * MS), **told
    )


def test_a_trace_is_drawn_as_a_waterfall(writer: Writer) -> None:
    task = writer.tasks.start_span(
        "BackgroundTask.MetadataScanTask",
        start_time=BEGIN,
        attributes={"task.id": "1", "task.status": "Failed", "exception.type": "ValueError"},
    )
    task.add_event("task.started", timestamp=BEGIN + MS)
    first = writer.child("GET /search/movie", task, 10, 20)
    writer.child("SELECT", first, 12, 3)
    writer.child("GET /movie/603", task, 50, 50)
    task.add_event(
        "task.retrying",
        {"task.attempt": 1, "exception.type": "OSError", "exception.stacktrace": "long"},
        timestamp=BEGIN + 40 * MS,
    )
    task.add_event("task.failed", timestamp=BEGIN + 99 * MS)
    task.set_status(Status(StatusCode.ERROR, "no such\nlibrary"))
    task.end(BEGIN + 100 * MS)
    trace_id = f"{task.context.trace_id:032x}"

    drawn = render_waterfall(writer.read().trace(trace_id), width=84)

    assert drawn.splitlines() == [
        f"trace {trace_id}  4 spans  100.0 ms  2025-10-17 10:10:00 UTC",
        "BackgroundTask.MetadataScanTask  █████████████████████████████████  100.0 ms  Failed",
        "│ ✗ ValueError: no such library",
        "│ · task.started +1.0 ms",
        "│ · task.retrying +40.0 ms attempt=1 type=OSError",
        "│ · task.failed +99.0 ms",
        "├─ GET /search/movie                ███████                          20.0 ms",
        "│  └─ SELECT                        ██                                3.0 ms",
        "└─ GET /movie/603                                █████████████████   50.0 ms",
    ]


def test_every_span_is_drawn_though_parents_are_missing_or_go_in_circles() -> None:
    assert render_waterfall([]) == "no spans"
    spans = [
        span("orphan", "a", "gone", 0, 10),
        span("self", "b", "b", 1, 1),
        span("hen", "c", "d", 2, 1),
        span("egg", "d", "c", 3, 1),
        span("egg's child", "e", "d", 4, 1),
    ]

    lines = render_waterfall(spans).splitlines()[1:]

    assert [line.partition("█")[0].rstrip() for line in lines] == [
        "orphan",
        "self",
        "hen",
        "└─ egg",
        "   └─ egg's child",
    ]


def test_deep_traces_are_drawn_within_the_width() -> None:
    spans = [span(f"s{i}", str(i), str(i - 1), i, 2000 - i) for i in range(1, 1500)]

    lines = render_waterfall(spans, width=10).splitlines()

    assert len(lines) == 1500
    assert max(map(len, lines[1:])) <= 60


def test_what_a_terminal_would_obey_is_not_passed_on() -> None:
    spans = [
        span("\x1b[31mred", "a", None, 0, 1, status="ERROR", status_description="\x1b]0;x\x07 y")
    ]

    drawn = render_waterfall(spans)

    assert "\x1b" not in drawn
    assert "?[31mred" in drawn
    assert "✗ ?]0;x? y" in drawn


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 µs"),
        (0.85, "850 µs"),
        (12.5, "12.5 ms"),
        (3210, "3.21 s"),
        (135_555, "2m 15.6s"),
        (119_990, "2m 00.0s"),
        (3_723_000, "1h 02m 03s"),
    ],
)
def test_durations_are_written_for_people(milliseconds: float, text: str) -> None:
    (_, line) = render_waterfall([span("s", "a", None, 0, milliseconds, status="OK")]).splitlines()

    assert line.endswith(f"  {text}  Ok")


def test_a_span_without_length_is_seen_at_its_place() -> None:
    lines = render_waterfall(
        [span("whole", "a", None, 0, 100), span("end", "b", "a", 100, 0)], width=60
    ).splitlines()

    assert lines[2].count("█") == 1
    assert lines[2].index("█") == lines[1].rindex("█")
