"""What a collector will not take holds nothing else up: by size, by span, for a time, in part."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from haas_otel.delivery.exporters import Target, chosen_targets, spans_to
from haas_otel.delivery.limits import Limits
from haas_otel.delivery.logs import LogExporting, SpanLogHandler
from haas_otel.delivery.metrics import chosen_metrics
from haas_otel.delivery.otlp import Exporter
from haas_otel.delivery.processor import DurableSpanProcessor
from haas_otel.delivery.segments import Journal
from haas_otel.delivery.store import TraceStore
from tests.haas_otel.waits import waiting
from tests.receiver import Partial, Receiver, Refusal
from tests.waits import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_otel.given import MonkeyPatch, Warnings
    from tests.haas_otel.programs import Programs

MIB = 1024 * 1024
# Nothing goes out before it is asked for: what goes together does not depend on the machine.
ASKED = Limits(delay=timedelta(hours=1))
Run = Callable[..., None]


@pytest.fixture(autouse=True)
def _to_receiver(receiver: Receiver, monkeypatch: MonkeyPatch) -> None:
    for name, value in receiver.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def run(directory: Path) -> Run:
    """A short run: spans of these names and sizes, then the end that every process has.

    Those whose names begin so are of tasks.
    """

    def run(*spans: tuple[str, int], targets: Any = None, limits: Limits = ASKED) -> None:
        chosen = chosen_targets() if targets is None else targets
        processor = DurableSpanProcessor(Journal(directory), chosen, limits)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("Haas.Media.BackgroundTasks", "0.1.0")
        for name, size in spans:
            attributes = {"task.id": name, "exception.stacktrace": "x" * size}
            if name.startswith("task"):
                attributes |= {"task.type": "MetadataScanTask", "task.status": "Completed"}
            tracer.start_span(name, attributes=attributes).end()
        processor.force_flush(60_000)
        end(processor)

    return run


def end(processor: DurableSpanProcessor) -> None:
    """Shut it down, and wait as for a process: one that has ended holds no segment."""
    processor.shutdown()
    for sender in processor._senders:
        assert not sender.begun or sender.ended.wait(PATIENCE)


def some(count: int, size: int = 10, name: str = "span") -> list[tuple[str, int]]:
    return [(f"{name} {number}", size) for number in range(count)]


def arrived(receiver: Receiver) -> set[str]:
    assert receiver.duplicates == {}
    return {span.name for span in receiver.spans}


def named(*names: str, refusal: Refusal) -> Callable[[str, Any], Refusal | None]:
    """Refuse each request with a span of these names in it."""

    def rule(_: str, message: Any) -> Refusal | None:
        spans = [
            span.name
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return refusal if set(names) & set(spans) else None

    return rule


def exporter(to: Receiver) -> Any:
    if to.protocol == "grpc":
        return grpc.OTLPSpanExporter(to.endpoint)
    return http.OTLPSpanExporter(f"{to.endpoint}/v1/traces")


def no_more_than(size: int) -> Callable[[str, Any], Refusal | None]:
    return lambda _, message: Refusal("413") if message.ByteSize() > size else None


@pytest.mark.parametrize(
    "spans",
    [some(300, 60_000), some(3000, 9_000), [*some(100), ("large", 5 * MIB)]],
    ids=["300 of 60 kB", "3000 of 9 kB", "one of 5 MB among 100"],
)
def test_large_spans_go_out_in_requests_of_a_bounded_size(
    spans: list[tuple[str, int]],
    receiver: Receiver,
    run: Run,
    directory: Path,
    warnings: Warnings,
    monkeypatch: MonkeyPatch,
) -> None:
    # As a version before has left it: all in one file.
    monkeypatch.setattr("haas_otel.delivery.segments._SEGMENT_BYTES", 100 * MIB)
    too_large = []

    def rule(signal: str, message: Any) -> Refusal | None:
        if message.ByteSize() <= 4 * MIB:
            return None
        too_large.append(signal)
        return Refusal("413")

    receiver.rule = rule
    encoded, send = [0], Exporter.send
    monkeypatch.setattr(
        Exporter, "send", lambda self, batch: encoded.append(len(batch)) or send(self, batch)
    )

    run(*spans)
    run()

    assert arrived(receiver) == {name for name, _ in spans}
    assert waiting(directory) == 0
    assert max(encoded) * spans[0][1] <= 3 * MIB
    cut = ["a span was too large for otlp, and is cut: large"] if len(spans) == 101 else []
    assert warnings() == cut
    assert cut or too_large == []
    for span in receiver.spans:
        assert span.attributes.get("haas_otel.cut", False) is (span.name == "large")
        assert span.attributes["task.id"] == span.name


def test_what_is_too_large_though_it_is_cut_is_given_up_in_one_line(
    receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    receiver.rule = no_more_than(900)

    run(*some(20), ("large", 200_000), *some(20, name="later"))
    run()

    assert arrived(receiver) == {name for name, _ in (*some(20), *some(20, name="later"))}
    assert waiting(directory) == 0
    (line,) = warnings()
    assert line.startswith("otlp does not take 1 spans, given up: large ")


@pytest.mark.parametrize("status", ["400", "403", "413", "503"])
def test_a_span_that_is_refused_holds_no_other_up(
    status: Any, receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    receiver.rule = named("span 0", "span 17", refusal=Refusal(status))
    # Whose fault it is an overload does not say, however often the others are taken.
    limits = replace(ASKED, most_tries=2) if status == "503" else ASKED
    later = [some(5, name=f"run {number}") for number in range(4)]
    expected = {name for spans in (some(100), *later) for name, _ in spans}

    for spans in (some(100), *later):
        run(*spans, limits=limits)

    assert arrived(receiver) == expected - {"span 0", "span 17"}
    if status == "400":  # it will never be taken
        assert waiting(directory) == 0
        (line,) = warnings()
        assert line.startswith("otlp does not take 2 spans, given up: span 0 ")
        return
    assert waiting(directory) == 2
    assert not [line for line in warnings() if "given up" in line]
    receiver.rule = lambda *_: None
    run(limits=limits)
    assert arrived(receiver) == expected


def test_a_collector_that_throttles_is_waited_for_and_nothing_is_lost(
    receiver: Receiver, run: Run, directory: Path
) -> None:
    receiver.rule = lambda *_: Refusal("429", wait=1)
    run(*some(10))
    first = len(receiver.requests)
    until = json.loads((directory / "exporter-otlp.json").read_text())[0]
    asked: list[float] = []

    def count(*_: Any) -> None:
        asked.append(time.time())

    receiver.rule = count
    # The moment is on disk: the next process does not ask before it.
    for _ in range(3):
        run(*some(1, name=f"more {len(asked)}"))
    processor = DurableSpanProcessor(Journal(directory), chosen_targets(), ASKED)
    processor.deliver(timedelta(seconds=60))
    end(processor)

    assert first == 0
    assert len(arrived(receiver)) >= 11
    assert waiting(directory) == 0
    assert min(asked) >= until


def test_a_moment_to_try_again_that_comes_unseen_is_not_missed(
    receiver: Receiver, run: Run, directory: Path, monkeypatch: MonkeyPatch
) -> None:
    """On a busy machine it comes between a round that was too early and the look at the time."""
    receiver.rule = lambda *_: Refusal("429", wait=2)
    run(*some(3))
    receiver.rule = lambda *_: None
    processor = DurableSpanProcessor(Journal(directory), chosen_targets(), ASKED)
    flush = processor.force_flush
    monkeypatch.setattr(processor, "force_flush", lambda most: (flush(most), time.sleep(2))[0])
    processor.deliver(timedelta(seconds=60))
    came = len(arrived(receiver))
    end(processor)

    assert came == 3


@pytest.mark.parametrize("segment_bytes", [MIB, 1])
def test_a_span_for_which_the_collector_throttles_lets_others_by(
    receiver: Receiver, run: Run, directory: Path, monkeypatch: MonkeyPatch, segment_bytes: int
) -> None:
    monkeypatch.setattr("haas_otel.delivery.segments._SEGMENT_BYTES", segment_bytes)
    receiver.rule = named("span 3", refusal=Refusal("429", wait=0))
    run(*some(10))

    for number in range(8):
        run(*some(3, name=f"run {number}"))

    later = {f"run {number} {each}" for number in range(8) for each in range(3)}
    assert arrived(receiver) == {name for name, _ in some(10) if name != "span 3"} | later
    assert waiting(directory) == 1


@pytest.mark.parametrize("status", ["429", "503"])
def test_a_collector_that_takes_nothing_for_long_without_a_hint_loses_nothing(
    status: Any, receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    """As one whose queue is full does: what is empty it takes."""
    receiver.rule = lambda _, message: Refusal(status) if message.resource_spans else None
    impatient = replace(ASKED, most_tries=2)
    for number in range(4):
        run(*some(3, name=f"run {number}"), limits=impatient)
    assert waiting(directory) == 12
    assert not [line for line in warnings() if "given up" in line]

    receiver.rule = lambda *_: None
    run(limits=impatient)

    assert len(arrived(receiver)) == 12
    assert waiting(directory) == 0


def test_a_collector_that_errs_on_what_is_empty_gets_spans(
    receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    receiver.rule = lambda _, message: None if message.resource_spans else Refusal("500")
    run(*some(3))
    run(*some(3, name="later"))
    assert len(arrived(receiver)) == 6
    assert waiting(directory) == 0
    assert warnings() == []


def test_what_is_throttled_for_longer_than_there_is_time_is_not_waited_for(
    receiver: Receiver, run: Run, directory: Path, monkeypatch: MonkeyPatch
) -> None:
    receiver.rule = lambda *_: Refusal("429", wait=600)
    run(*some(3))
    waits: list[float] = []
    # Of this module alone: other threads sleep, too.
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=waits.append)
    monkeypatch.setattr("haas_otel.delivery.processor.time", clock)

    processor = DurableSpanProcessor(Journal(directory), chosen_targets(), ASKED)
    processor.deliver(timedelta(seconds=20))
    end(processor)

    assert waits == []
    assert waiting(directory) == 3


def test_a_moment_to_try_again_that_is_far_away_is_not_waited_for(
    receiver: Receiver, run: Run, directory: Path
) -> None:
    """A collector may say seconds and mean milliseconds, and the clock may be set back."""
    receiver.rule = lambda *_: Refusal("429", wait=10**9)
    run(*some(3))
    state = directory / "exporter-otlp.json"
    until, *rest = json.loads(state.read_text())
    assert until <= time.time() + 3600

    receiver.rule = lambda *_: None
    state.write_text(json.dumps([time.time() + 4000, *rest]))
    run()

    assert arrived(receiver) == {name for name, _ in some(3)}


@pytest.mark.parametrize("late", [False, True])
def test_a_span_whose_requests_are_not_answered_holds_no_other_up(
    late: bool, receiver: Receiver, run: Run, monkeypatch: MonkeyPatch
) -> None:
    if late:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    refuse = named("span 2", refusal=Refusal("cut"))

    def rule(signal: str, message: Any) -> Refusal | None:
        refusal = refuse(signal, message)
        if refusal and late:
            time.sleep(3)
        return refusal

    receiver.rule = rule
    run(*some(4))
    for number in range(2):
        run((f"later {number}", 10))

    # On a busy machine the answer to another one may come too late, too.
    names = {span.name for span in receiver.spans} if late else arrived(receiver)
    assert names == {"span 0", "span 1", "span 3", "later 0", "later 1"}


def nested(depth: int) -> dict[str, Any]:
    lists: Any = "x"
    mappings: Any = "x"
    for _ in range(depth):
        lists, mappings = [lists], {"k": mappings}
    return {"lists": lists, "mappings": mappings}


@pytest.mark.parametrize(
    ("start", "attributes"),
    [
        *((start, {}) for start in (2**63, 10**400, -1, 1.5, float("nan"), float("inf"))),
        (None, nested(300)),
    ],
    ids=["2**63", "10**400", "-1", "1.5", "nan", "inf", "nested"],
)
def test_a_span_from_no_time_or_nested_without_end_goes_out_and_can_be_read(
    start: Any, attributes: dict[str, Any], receiver: Receiver, directory: Path
) -> None:
    processor = DurableSpanProcessor(Journal(directory), chosen_targets(), ASKED)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("Haas.Media.BackgroundTasks", "0.1.0")
    with tracer.start_as_current_span("well"):
        odd = tracer.start_span("odd", start_time=start, attributes={"task.id": "1", **attributes})
        odd.end(start)
    processor.force_flush(60_000)
    end(processor)

    assert arrived(receiver) == {"well", "odd"}
    assert list((directory / "journal").iterdir()) == []
    (stored,) = TraceStore(directory).tasks()
    assert stored.started_at >= datetime.fromtimestamp(0, UTC)


def test_counts_that_are_refused_are_kept_though_spans_without_any_pass(
    receiver: Receiver, run: Run, directory: Path
) -> None:
    receiver.rule = lambda signal, message: (
        Refusal("503") if signal == "metrics" and message.resource_metrics else None
    )
    targets = chosen_metrics(Resource({}), Counter)
    impatient = replace(ASKED, batch=1, most_tries=1)
    for number in range(3):
        run((f"task {number}", 10), ("child", 10), targets=targets, limits=impatient)
    assert receiver.metrics == []
    assert waiting(directory) == 3

    receiver.rule = lambda *_: None
    run(targets=targets)

    assert waiting(directory) == 0


def test_what_is_taken_in_part_is_a_warning_that_counts(
    receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    receiver.rule = lambda _, message: Partial(2) if message.resource_spans else None

    run(*some(5))

    assert waiting(directory) == 0
    assert warnings() == ["otlp took requests in part, and rejected 2 spans so far: for a test"]


def test_one_exporter_is_not_touched_by_what_befalls_another(receiver: Receiver, run: Run) -> None:
    spans = some(50)
    receiver.rule = named("span 9", refusal=Refusal("503"))
    with Receiver().start() as throttled, Receiver().start() as healthy:
        throttled.rule = lambda *_: Refusal("429", wait=60)

        targets = [
            Target(each.endpoint, partial(lambda to: Exporter(exporter(to), "TRACES"), each))
            for each in (receiver, throttled, healthy)
        ]
        run(*spans, targets=targets)

        assert arrived(healthy) == {name for name, _ in spans}
        assert arrived(receiver) == {name for name, _ in spans} - {"span 9"}
        assert arrived(throttled) == set()


@pytest.mark.parametrize("seconds", [0.7, 1.5])
def test_a_collector_that_answers_late_gets_what_short_runs_make_once(
    seconds: float, receiver: Receiver, runs: Programs
) -> None:
    receiver.rule = lambda *_: time.sleep(seconds)
    for _ in range(4):
        runs.run("run", **receiver.environment)

    counts = [
        point.count
        for resource in receiver.metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "background_task.duration"
        for point in metric.histogram.data_points
    ]
    assert receiver.duplicates == {}
    assert len(receiver.spans) == sum(counts) == 4


def test_an_answer_that_comes_while_a_process_ends_is_waited_for(
    receiver: Receiver, processes: Programs
) -> None:
    receiver.rule = lambda _, message: time.sleep(1.5 if message.ByteSize() else 0)

    for _ in range(3):
        processes.run("make", "1", OTEL_METRICS_EXPORTER="none", **receiver.environment)
    processes.run("deliver", "60", OTEL_METRICS_EXPORTER="none", **receiver.environment)

    assert receiver.duplicates == {}
    assert len(receiver.spans) == 6


def test_spans_for_an_exporter_that_is_asked_for_no_more_go_to_others(
    receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    run(*some(3), targets=[Target("OTLP", partial(spans_to, "OTLP"))])
    assert waiting(directory) == 3

    run()

    assert arrived(receiver) == {name for name, _ in some(3)}
    assert "OTLP is asked for no more: what waits for it goes to others" in warnings()
    assert list((directory / "journal").iterdir()) == []


@pytest.mark.parametrize("others", [["console"], []])
def test_one_run_that_asks_otherwise_takes_nothing_of_what_waits(
    receiver: Receiver, run: Run, directory: Path, warnings: Warnings, others: list[str]
) -> None:
    """The collector was away for long; what it is to get is given to nobody, and not given up."""
    receiver.rule = lambda *_: Refusal("503")
    run(*some(3))
    (segment,) = (directory / "journal").iterdir()
    long_ago = time.time() - timedelta(days=3).total_seconds()
    os.utime(segment, (long_ago, long_ago))

    run(targets=[Target(name, partial(spans_to, name)) for name in others])
    receiver.rule = lambda *_: None
    run()
    assert arrived(receiver) == {name for name, _ in some(3)}
    assert not [line for line in warnings() if "is asked for no more" in line]


def test_what_nobody_has_asked_for_in_a_day_goes_to_others(
    receiver: Receiver, run: Run, directory: Path, warnings: Warnings
) -> None:
    receiver.rule = lambda *_: Refusal("503")
    run(*some(3))
    long_ago = time.time() - timedelta(days=1, minutes=1).total_seconds()
    os.utime(directory / "exporter-otlp.json", (long_ago, long_ago))

    run(targets=[Target("console", partial(spans_to, "console"))])
    assert "otlp is asked for no more: what waits for it goes to others" in warnings()
    assert list((directory / "journal").iterdir()) == []


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [("grpc", "http://me:secret@127.0.0.1:1"), ("http/protobuf", "me:secret@127.0.0.1:1")],
)
def test_the_credentials_of_an_address_are_not_logged(
    run: Run, warnings: Warnings, monkeypatch: MonkeyPatch, protocol: str, endpoint: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)

    run(*some(1))

    (line,) = (each for each in warnings() if "cannot be sent to otlp" in each)
    assert "***@127.0.0.1:1" in line
    assert "secret" not in line


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("mute")


def test_log_lines_are_sent_whatever_their_size_and_their_bytes(
    receiver: Receiver, monkeypatch: MonkeyPatch
) -> None:
    receiver.rule = no_more_than(4 * MIB)
    handler = SpanLogHandler(LogExporting(["otlp"]), Resource({}))
    logger = logging.getLogger("haas_media.of_a_test")
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    try:
        for number in range(600):
            logger.warning("%d %s", number, "x" * 12_000)
        logger.warning("a file name: %s", "caf\udce9", extra={"inode": 2**70})
        logger.error("an odd exception", exc_info=MuteError())
    finally:
        logger.removeHandler(handler)
        handler.end(timedelta(seconds=PATIENCE))

    records = [
        record
        for resource in receiver.logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    texts = [record.body.string_value for record in records]
    assert len(texts) == 602
    (inode,) = (each.value for each in records[-2].attributes if each.key == "inode")
    assert inode.string_value == str(2**70)
    assert texts[-2:] == [r"a file name: caf\udce9", "an odd exception"]
