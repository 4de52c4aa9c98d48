"""What has ended reaches a real receiver, once, through every fault, as soon as it answers."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from haas_otel.delivery import open_disk
from haas_otel.delivery.disk import SharedDisk
from haas_otel.delivery.exporters import Target, chosen_targets, spans_to
from haas_otel.delivery.limits import Limits
from haas_otel.delivery.otlp import Exporter
from haas_otel.delivery.processor import DurableSpanProcessor
from haas_otel.delivery.segments import Journal
from haas_otel.delivery.store import TraceStore
from tests.haas_otel.waits import waiting
from tests.http_server import HttpServer, Reply
from tests.receiver import Receiver
from tests.waits import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.haas_otel.given import LogCapture, MakeLine, MonkeyPatch, Warnings
    from tests.haas_otel.programs import Programs

QUICK = Limits(
    delay=timedelta(milliseconds=20),
    idle=timedelta(milliseconds=200),
    first_retry=timedelta(milliseconds=100),
    last_retry=timedelta(milliseconds=200),
)
SOON = timedelta(seconds=PATIENCE)
Deliver = Callable[..., "Delivery"]


class Delivery:
    """A provider over one processor, as a process has it."""

    def __init__(
        self, directory: Path, targets: Sequence[Any] | None = None, limits: Limits = QUICK
    ) -> None:
        chosen = chosen_targets() if targets is None else tuple(targets)
        self.processor = DurableSpanProcessor(Journal(directory), chosen, limits)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("Haas.Media.BackgroundTasks", "0.1.0")

    def span(self, name: str, **attributes: Any) -> None:
        self.tracer.start_span(name, attributes=attributes).end()

    def flush(self) -> bool:
        return self.processor.force_flush(int(SOON.total_seconds() * 1000))


@pytest.fixture
def deliver(directory: Path) -> Iterator[Callable[..., Delivery]]:
    made: list[Delivery] = []

    def make(*targets: Any, limits: Limits = QUICK) -> Delivery:
        made.append(Delivery(directory, targets or None, limits))
        return made[-1]

    yield make
    for each in made:
        each.processor.shutdown(timedelta(seconds=5))


@pytest.fixture
def to_receiver(receiver: Receiver, monkeypatch: MonkeyPatch) -> Receiver:
    for name, value in receiver.environment.items():
        monkeypatch.setenv(name, value)
    return receiver


class Memory(SpanExporter):
    """An exporter whose moods a test decides."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.batches: list[list[str]] = []
        self.mood: Callable[[list[str]], SpanExportResult] = lambda _: SpanExportResult.SUCCESS
        self.ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        names = [span.name for span in spans]
        self.batches.append(names)
        result = self.mood(names)
        if result is SpanExportResult.SUCCESS:
            self.spans += spans
        return result

    def shutdown(self) -> None:
        self.ended = True

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


def to(exporter: SpanExporter, key: str = "memory") -> Target:
    """Return a target whose exporter is at hand."""
    return Target(key, lambda: Exporter(exporter, "TRACES"))


def left_by_the_dead(directory: Path, lines: str) -> Path:
    """Write the segment of a process that has died."""
    segment = directory / "journal" / "1-dead-1.jsonl"
    segment.parent.mkdir(parents=True)
    segment.write_text(lines)
    return segment


def test_a_span_arrives_as_it_ended(to_receiver: Receiver, deliver: Deliver) -> None:
    with deliver().tracer.start_as_current_span("outer") as outer:
        outer.set_attributes({"text": "ü", "numbers": [1, 2], "yes": True, "half": 0.5})
        outer.add_event("told", {"n": 1}, timestamp=17)

    (span,) = to_receiver.wait_for(bool)

    assert span.name == "outer"
    assert span.attributes == {"text": "ü", "numbers": [1, 2], "yes": True, "half": 0.5}
    assert [(e.name, e.time_ns, e.attributes) for e in span.events] == [("told", 17, {"n": 1})]
    assert (span.scope_name, span.scope_version) == ("Haas.Media.BackgroundTasks", "0.1.0")
    assert span.trace_id == f"{outer.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("segment_bytes", [1024 * 1024, 1])  # 1: as many short runs leave them
def test_what_waits_for_a_receiver_that_died_goes_out_in_batches(
    to_receiver: Receiver,
    deliver: Deliver,
    directory: Path,
    monkeypatch: MonkeyPatch,
    segment_bytes: int,
) -> None:
    monkeypatch.setattr("haas_otel.delivery.segments._SEGMENT_BYTES", segment_bytes)
    delivery = deliver(limits=replace(QUICK, batch=100))
    for number in range(1050):
        if number == 50:
            assert delivery.flush()  # what is cut off unanswered may come twice
            to_receiver.set_fault("refuse")
        delivery.span(f"{number}")
    to_receiver.set_fault(None)

    assert delivery.flush()
    wait_until(lambda: waiting(directory) == 0)

    assert len(to_receiver.spans) == 1050
    assert to_receiver.duplicates == {}
    assert len(to_receiver.requests) <= 1050 / 10


def test_each_of_two_exporters_gets_each_span_though_one_of_them_fails(
    deliver: Deliver, warnings: Warnings
) -> None:
    good, bad = Memory(), Memory()

    def explode(_: list[str]) -> SpanExportResult:
        raise OSError("no route")

    bad.mood = explode
    delivery = deliver(to(bad, "bad"), to(good, "good"))
    delivery.span("a")
    delivery.flush()
    delivery.span("b")
    delivery.flush()
    assert good.names == ["a", "b"]
    assert warnings() == ["spans cannot be sent to bad yet: no route"]

    bad.mood = lambda _: SpanExportResult.SUCCESS

    wait_until(lambda: sorted(bad.names) == ["a", "b"])
    assert good.names == ["a", "b"]


def test_one_span_that_is_always_refused_does_not_hold_up_the_others(
    deliver: Deliver, caplog: LogCapture
) -> None:
    memory = Memory()
    memory.mood = lambda names: (
        SpanExportResult.FAILURE if "bad" in names else SpanExportResult.SUCCESS
    )
    delivery = deliver(to(memory))
    for number in range(40):
        delivery.span("bad" if number == 17 else f"{number}")

    wait_until(lambda: len(memory.names) == 39)

    # It is given up at last, when it was refused on its own while others were taken.
    for number in range(200):
        delivery.span(f"later {number}")
        delivery.flush()
        if "given up" in caplog.text:
            break
        time.sleep(0.02)
    assert "memory does not take 1 spans, given up: bad" in caplog.text
    assert "bad" not in memory.names


@pytest.mark.parametrize(
    ("exporter", "said"),
    [("nosuchthing", "'nosuchthing' not found"), ("otlp", "carrier/pigeon")],
)
def test_an_exporter_that_cannot_be_made_is_said_and_spans_are_kept(
    exporter: str,
    said: str,
    deliver: Deliver,
    directory: Path,
    warnings: Warnings,
    monkeypatch: MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier/pigeon")
    delivery = deliver(Target(exporter, partial(spans_to, exporter)))
    delivery.span("a")

    assert delivery.flush()

    assert waiting(directory) == 1
    assert any(said in warning for warning in warnings())


def test_spans_wait_for_otlp_whatever_its_protocol(processes: Programs) -> None:
    with Receiver().start("grpc", fault="refuse") as grpc:
        processes.run("make", "1", **grpc.environment)
    with Receiver().start("http/protobuf") as http:
        processes.run("deliver", "60", **http.environment)

        assert sorted(span.name for span in http.spans) == ["child of span 0", "span 0"]


def test_a_span_that_is_not_sampled_is_nowhere(directory: Path, deliver: Deliver) -> None:
    memory = Memory()
    delivery = deliver(to(memory))

    delivery.processor.on_end(ReadableSpan("no context"))
    unsampled = SpanContext(1, 1, False, TraceFlags(0))
    delivery.processor.on_end(ReadableSpan("unsampled", unsampled, start_time=1, end_time=2))
    delivery.span("sampled")
    delivery.flush()

    assert memory.names == ["sampled"]


def test_a_span_that_cannot_be_written_down_does_no_harm(
    deliver: Deliver, caplog: LogCapture
) -> None:
    delivery = deliver(to(Memory()))

    delivery.processor.on_end(
        ReadableSpan("odd", SpanContext(1, 1, False, TraceFlags(1)), attributes={"odd": object()})  # type: ignore[dict-item]
    )

    assert "a span is lost: odd" in caplog.text


def test_shutdown_does_not_send_on_and_on(
    deliver: Deliver, directory: Path, warnings: Warnings
) -> None:
    memory = Memory()

    def take_time(_: list[str]) -> SpanExportResult:
        time.sleep(0.3)
        return SpanExportResult.SUCCESS

    memory.mood = take_time
    delivery = deliver(to(memory), limits=replace(QUICK, batch=1, delay=timedelta(seconds=30)))
    for number in range(20):
        delivery.span(f"{number}")

    delivery.processor.shutdown(timedelta(seconds=3))

    assert len(memory.spans) <= 8  # no request is begun when the time is almost up
    wait_until(lambda: waiting(directory) == 20 - len(memory.spans))
    assert any("spans for memory are not delivered yet" in warning for warning in warnings())


def test_shutdown_delivers_what_is_waiting_and_closes_the_exporter(
    deliver: Deliver, directory: Path
) -> None:
    memory = Memory()
    delivery = deliver(to(memory), limits=replace(QUICK, delay=timedelta(seconds=30)))
    delivery.span("a")

    delivery.processor.shutdown(SOON)

    assert memory.names == ["a"]
    assert memory.ended
    assert list((directory / "journal").iterdir()) == []
    delivery.processor.shutdown(timedelta(seconds=1))
    assert delivery.flush()
    # What ends now is written down for another process.
    delivery.span("late")
    assert memory.names == ["a"]
    assert waiting(directory) == 1


def test_a_process_without_spans_starts_no_thread_and_makes_no_file(
    directory: Path, deliver: Deliver
) -> None:
    before = threading.enumerate()
    delivery = deliver(to(Memory()))
    delivery.processor.shutdown()

    assert [each for each in threading.enumerate() if each not in before] == []
    assert not directory.exists()


def test_when_no_thread_can_be_started_spans_are_on_disk_all_the_same(
    deliver: Deliver, directory: Path, monkeypatch: MonkeyPatch
) -> None:
    delivery = deliver(to(Memory()))

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        delivery.span("a")
        assert delivery.flush()

    assert len(list((directory / "journal").glob("*.jsonl"))) == 1


def no_folder(directory: Path, _: MonkeyPatch) -> None:
    directory.write_text("a file where the folder should be")


def no_locks(_: Path, monkeypatch: MonkeyPatch) -> None:
    def refuse(_: int, operation: int, *rest: Any) -> int:
        if rest and operation not in (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK):
            return fcntl_of_the_system(_, operation, *rest)
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl_of_the_system = fcntl.fcntl
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("spoil", [no_folder, no_locks])
def test_without_a_usable_folder_spans_go_out_from_memory(
    directory: Path,
    deliver: Deliver,
    warnings: Warnings,
    monkeypatch: MonkeyPatch,
    spoil: Callable[[Path, MonkeyPatch], None],
) -> None:
    spoil(directory, monkeypatch)
    memory, other = Memory(), Memory()
    memory.mood = lambda _: SpanExportResult.FAILURE
    delivery = deliver(to(memory), to(other, "other"))
    delivery.span("a")
    assert not delivery.flush()
    memory.mood = lambda _: SpanExportResult.SUCCESS

    wait_until(lambda: memory.names == ["a"])
    wait_until(lambda: delivery.processor._journal.memory is None)

    assert delivery.flush()
    assert len([w for w in warnings() if "kept in memory only" in w]) == 1
    assert not [w for w in warnings() if "a round of delivery failed" in w]


def test_when_the_trace_store_cannot_be_used_spans_go_out_from_the_journal(
    directory: Path, deliver: Deliver, warnings: Warnings
) -> None:
    (directory / "traces.db").mkdir(parents=True)
    memory = Memory()
    delivery = deliver(to(memory))
    delivery.span("a")
    delivery.flush()

    delivery.span("b")
    delivery.flush()

    assert memory.names == ["a", "b"]
    assert len([w for w in warnings() if "the trace store cannot be used" in w]) == 1
    (directory / "traces.db").rmdir()
    delivery.span("c")
    delivery.flush()
    assert memory.names == ["a", "b", "c"]


def test_what_is_dropped_is_counted_in_one_warning(
    deliver: Deliver, directory: Path, warnings: Warnings
) -> None:
    memory = Memory()
    memory.mood = lambda _: SpanExportResult.FAILURE
    delivery = deliver(
        to(memory), limits=replace(QUICK, max_pending_spans=10, delay=timedelta(seconds=30))
    )
    for number in range(25):
        delivery.span(f"{number}")
    delivery.flush()
    memory.mood = lambda _: SpanExportResult.SUCCESS
    delivery.flush()

    assert sorted(memory.names) == [f"{number}" for number in range(15, 25)]
    assert [w for w in warnings() if "dropped" in w] == [
        "15 undelivered spans for memory dropped so far, oldest first"
    ]
    with sqlite3.connect(directory / "traces.db") as connection:
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (25,)  # to be read


def test_a_span_as_large_as_all_that_may_wait_takes_no_other_s_place(
    deliver: Deliver, warnings: Warnings
) -> None:
    memory = Memory()
    delivery = deliver(to(memory), limits=replace(QUICK, max_bytes=100_000))
    delivery.span("small")
    delivery.span("large", log="x" * 200_000)
    delivery.flush()

    assert memory.names == ["small", "large"]
    assert (memory.spans[1].attributes or {})["haas_otel.cut"] is True
    assert warnings() == ["a span was too large, and is cut: large"]


def test_what_waits_for_an_exporter_that_nobody_asks_for_is_given_up_after_a_day(
    deliver: Deliver, directory: Path, warnings: Warnings
) -> None:
    memory = Memory()
    memory.mood = lambda _: SpanExportResult.FAILURE
    before = deliver(to(memory, "old"))
    before.span("a", **{"task.id": "1"})
    before.processor.shutdown(SOON)
    (segment,) = (directory / "journal").glob("*.jsonl")
    given_up = "old is asked for no more: what waited for it is given up"

    now = deliver()
    assert now.flush()
    assert segment.exists()
    assert given_up not in warnings()

    yesterday = time.time() - timedelta(days=1, minutes=1).total_seconds()
    os.utime(segment, (yesterday, yesterday))
    assert now.flush()
    assert not segment.exists()
    assert warnings().count(given_up) == 1
    assert [span.name for span in TraceStore(directory).tasks()] == ["a"]  # to be read


@pytest.mark.parametrize(
    "rubbish",
    [
        "\0\0\0\0",
        'memory\t{"dropped": 1}',
        "\n".join(f"=memory\t{note}" for note in ("[1]", "{}", "[9,[7]]", "[9,[[7]]]", '["x",[]]')),
    ],
    ids=["torn by a power cut", "no span", "no notes of what was sent"],
)
def test_rubbish_in_a_segment_of_a_dead_process_is_left_out(
    directory: Path, deliver: Deliver, make_line: MakeLine, rubbish: str
) -> None:
    lines = f"{make_line('memory')}\n{rubbish}\n{make_line('memory')}\n"
    left = left_by_the_dead(directory, lines)
    memory = Memory()

    deliver(to(memory)).flush()

    assert len(memory.names) == 2
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("exporter-memory.json", text) for text in ("", "{}", '["x", null, 1]', "[NaN, 1, 0]")),
        ("exporter-memory.json", None),
        ("journal/1-dead-1.jsonl", None),
    ],
)
def test_a_file_that_cannot_be_read_holds_nothing_up(
    name: str, text: str | None, directory: Path, deliver: Deliver, warnings: Warnings
) -> None:
    file = directory / name
    file.parent.mkdir(parents=True)
    file.mkdir() if text is None else file.write_text(text)
    memory = Memory()
    delivery = deliver(to(memory))
    delivery.span("a")
    delivery.flush()

    assert memory.names == ["a"]
    assert warnings() == []


def test_what_one_process_settles_is_lost_for_all_the_others_to_see(directory: Path) -> None:
    left_by_the_dead(directory, '>0000000000000007\t{"start": 1}\n')
    for _ in open_disk(directory).dead():
        other = open_disk(directory)
        assert not list(other.dead())
        assert [record.key for record in other.lost()] == ["0000000000000007"]


def test_a_span_that_is_ended_for_a_dead_process_goes_where_that_would_have_sent_it(
    directory: Path, deliver: Deliver
) -> None:
    left = left_by_the_dead(directory, '!theirs\n>0000000000000007\t{"start": 1}\n')
    ours, theirs = Memory(), Memory()
    delivery = deliver(to(ours, "ours"), to(theirs, "theirs"))
    context = SpanContext(1, 7, False, TraceFlags(1))
    for process in SharedDisk(delivery.processor._journal).dead():
        delivery.processor.on_end(ReadableSpan("a", context, start_time=1, end_time=2))
        process.close(process.records[0])
    delivery.span("b")
    delivery.flush()

    assert ours.names == ["b"]
    assert theirs.names == ["a", "b"]
    assert not left.exists()


def test_an_id_of_a_folder_that_a_power_cut_has_emptied_is_made_anew(directory: Path) -> None:
    directory.mkdir()
    (directory / "machine-id").write_text("\n")

    machine = open_disk(directory).machine

    assert len(machine) == 32
    assert open_disk(directory).machine == machine


def test_a_folder_that_somebody_removes_loses_nothing_of_a_process_that_lives(
    directory: Path, deliver: Deliver
) -> None:
    memory = Memory()
    memory.mood = lambda _: SpanExportResult.FAILURE
    delivery = deliver(to(memory))
    journal = delivery.processor._journal
    journal.start("flow 1", b'{"start": 1}')
    delivery.span("a")
    delivery.flush()
    shutil.rmtree(directory)
    delivery.span("b")
    memory.mood = lambda _: SpanExportResult.SUCCESS
    delivery.flush()

    assert sorted(memory.names) == ["a", "b"]
    assert [record.key for record in open_disk(directory).living()] == ["flow 1"]
    journal.end("flow 1")
    delivery.span("c")
    delivery.flush()
    assert sorted(memory.names) == ["a", "b", "c"]


@pytest.fixture
def answer(monkeypatch: MonkeyPatch) -> Iterator[Callable[[Reply], None]]:
    """Have all requests over HTTP be answered so from now on."""
    replies = [Reply(200)]
    server = HttpServer(lambda *_: replies[-1])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.port}")
    yield replies.append
    server.close()


def test_a_web_page_is_no_collector_nor_is_one_that_a_request_is_sent_on_to(
    answer: Callable[[Reply], None], deliver: Deliver, directory: Path, warnings: Warnings
) -> None:
    page = HttpServer(lambda *_: Reply(200, b"{}"))
    sent_on = Reply(302, headers=(("Location", f"http://127.0.0.1:{page.port}/login"),))
    ui = Reply(200, b"<!doctype html><title>UI</title>", "text/html")
    for reply, said in ((ui, "a web page is there, and no collector"), (sent_on, "302")):
        answer(reply)
        delivery = deliver()
        delivery.span("a")
        delivery.flush()
        assert any(said in line for line in warnings())
    page.close()

    assert waiting(directory) == 2


@pytest.mark.parametrize("body", [b"", b"{}", b"ok", b"\xff\xff"])
def test_who_answers_200_has_taken_what_was_sent_whatever_else_is_said(
    body: bytes, answer: Callable[[Reply], None], deliver: Deliver, directory: Path
) -> None:
    answer(Reply(200, body))
    delivery = deliver()
    delivery.span("a")
    delivery.flush()

    assert waiting(directory) == 0


@pytest.mark.parametrize(
    ("after", "named"),
    [
        ("1800", True),
        ("9" * 400, True),
        ("{:%a, %d %b %Y %H:%M:%S} GMT", True),  # in half an hour
        ("Fri, 31 Dec 9999 23:59:59 GMT", True),
        ("Mon, 01 Jan 2024 00:00:00 GMT", False),
        ("-5", False),
        ("soon", False),
        ("\u00b2", False),
    ],
)
def test_a_time_to_try_again_is_read_in_both_its_forms(
    after: str, named: bool, answer: Callable[[Reply], None], deliver: Deliver, directory: Path
) -> None:
    after = after.format(datetime.now(UTC) + timedelta(minutes=30))
    answer(Reply(503, headers=(("Retry-After", after),)))
    delivery = deliver()
    delivery.span("a")
    delivery.flush()
    until, *_ = json.loads((directory / "exporter-otlp.json").read_text())
    assert (time.time() + 600 < until <= time.time() + 3600) == named

    answer(Reply(200))
    delivery.flush()
    assert waiting(directory) == named


def test_whatever_goes_wrong_in_a_round_the_next_one_goes_on(
    deliver: Deliver, monkeypatch: MonkeyPatch, warnings: Warnings
) -> None:
    memory = Memory()
    delivery = deliver(to(memory))
    with monkeypatch.context() as patch:
        patch.setattr(
            delivery.processor._senders[0]._queue._segments,
            "there",
            lambda *_, **__: (_ for _ in ()).throw(OSError("torn")),
        )
        delivery.span("a")
        delivery.flush()
    assert any("a round of delivery failed" in warning for warning in warnings())

    delivery.flush()

    assert memory.names == ["a"]


def test_a_segment_that_is_sent_by_somebody_else_is_left_alone(
    directory: Path, deliver: Deliver, make_line: MakeLine
) -> None:
    left_by_the_dead(directory, f"{make_line('memory')}\n")
    memory = Memory()
    with (directory / "exporter-memory.json").open("w") as state:
        fcntl.flock(state, fcntl.LOCK_EX)
        delivery = deliver(to(memory))
        delivery.flush()
        assert memory.batches == []

    delivery.flush()

    assert len(memory.spans) == 1


@pytest.mark.parametrize("batch", [1, 512])
def test_a_span_that_two_processes_have_told_is_sent_once(
    directory: Path, deliver: Deliver, make_line: MakeLine, batch: int
) -> None:
    line = make_line("memory")
    (directory / "journal").mkdir(parents=True)
    for owner in ("1-dead", "2-dead"):
        (directory / "journal" / f"{owner}-1.jsonl").write_text(f"{line}\n")
    memory = Memory()

    deliver(to(memory), limits=replace(QUICK, batch=batch)).flush()

    assert len(memory.spans) == 1
    assert waiting(directory) == 0


def test_the_senders_own_requests_make_no_spans(deliver: Deliver) -> None:
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

    suppressed = []
    memory = Memory()

    def look(_: list[str]) -> SpanExportResult:
        suppressed.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        return SpanExportResult.SUCCESS

    memory.mood = look
    delivery = deliver(to(memory))
    delivery.span("a")
    delivery.flush()

    assert suppressed == [True]


def test_a_second_thread_finds_its_place_taken(deliver: Deliver) -> None:
    """A signal handler may strike between the start of the thread and the note of it."""
    memory = Memory()
    delivery = deliver(to(memory))
    delivery.span("a")
    delivery.flush()

    second = threading.Thread(target=delivery.processor._senders[0]._run)
    second.start()
    second.join(PATIENCE)

    assert not second.is_alive()
    delivery.span("b")
    delivery.flush()
    assert memory.names == ["a", "b"]


def test_an_exporter_that_failed_is_left_alone_for_a_while(
    directory: Path, deliver: Deliver
) -> None:
    memory = Memory()
    memory.mood = lambda _: SpanExportResult.FAILURE
    hour = timedelta(hours=1)  # nothing goes out by itself
    slow = replace(QUICK, delay=hour, first_retry=hour, last_retry=hour)
    delivery = deliver(to(memory), limits=slow)
    delivery.span("a")
    delivery.flush()
    delivery.processor._senders[0].work(urgent=False)

    assert memory.batches == [["a"]]


def test_the_standard_variables_set_the_limits(
    monkeypatch: MonkeyPatch, warnings: Warnings
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "7")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", " 1500 ")

    expected = Limits(max_pending_spans=7, delay=timedelta(seconds=1.5))
    assert Limits.from_environment() == expected
    assert len(warnings()) == 1
