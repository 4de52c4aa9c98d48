"""Real processes, killed and crowded, with a real receiver: every span arrives exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from haas_otel.delivery.store import TraceStore
from tests.chaos import CHAOS
from tests.haas_otel.waits import has_failed, waiting
from tests.parts import require
from tests.receiver import Fault, Receiver
from tests.waits import PATIENCE, wait_until
from tests.warm import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.haas_otel.programs import Programs

FAULTS: list[Fault] = ["refuse", "silent", "hang", "503", "drop"]


def expected(count: int, *names: str) -> list[str]:
    return sorted(
        name
        for each in names
        for i in range(count)
        for name in (f"{each} {i}", f"child of {each} {i}")
    )


def arrived(receiver: Receiver) -> list[str]:
    return sorted(span.name for span in receiver.spans)


def left_on_disk(directory: Path) -> list[Path]:
    return [*(directory / "journal").glob("*")]


def test_a_process_that_ends_delivers_its_spans(
    receiver: Receiver, processes: Programs, directory: Path
) -> None:
    """Within half a second: on a busy machine, one of some processes."""
    for number in range(20):
        ended = processes.run("make", "3", f"span{number}", **receiver.environment)
        if ended.stderr == "":
            break
        assert "not delivered yet" in ended.stderr

    assert ended.stderr == ""
    # Of a process that had no time to hear the answer, all may come again.
    assert set(arrived(receiver)) == set(expected(3, *(f"span{i}" for i in range(number + 1))))
    assert left_on_disk(directory) == []
    children = {s.parent_span_id for s in receiver.spans if s.name.startswith("child")}
    assert children == {s.span_id for s in receiver.spans if s.name.startswith("span")}


def test_the_spans_of_a_killed_process_are_delivered_by_the_next(
    receiver: Receiver, processes: Programs, directory: Path
) -> None:
    # Killed before its sender has begun: nothing is out yet.
    late = {"OTEL_BSP_SCHEDULE_DELAY": "60000", **receiver.environment}
    processes.run("make-and-die", "20", "killed", code=-signal.SIGKILL, **late)
    assert receiver.spans == []

    processes.run("make-and-flush", "1", "next", **receiver.environment)

    assert arrived(receiver) == sorted(expected(20, "killed") + expected(1, "next"))
    assert left_on_disk(directory) == []


@pytest.mark.parametrize("receiver", ["grpc"], indirect=True)
def test_processes_at_once_deliver_each_span_once(
    receiver: Receiver, processes: Programs, directory: Path
) -> None:
    """And the first of them puts a damaged store aside."""
    directory.mkdir()
    (directory / "traces.db").write_bytes(b"damaged " * 1000)
    count, names = (100, [f"p{number}" for number in range(8)]) if CHAOS else (40, ["a", "b", "c"])
    # With time to hear the answers: a request cut off by the end of its process is repeated.
    small = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", **receiver.environment}
    started = [processes.start("make-and-flush", str(count), name, **small) for name in names]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(names)
    # Of the last ones to end, some may have left theirs because another process was at the file.
    processes.run("deliver", "60", **receiver.environment)

    assert arrived(receiver) == expected(count, *names)
    assert left_on_disk(directory) == []
    assert sum("put aside" in each for each in errors) == 1


@dataclass(frozen=True)
class Faulty:
    """A collector with a fault, and the variables of the processes that send to it."""

    fault: Fault
    receiver: Receiver
    variables: dict[str, str]


@pytest.fixture(params=["grpc", "http/protobuf"])
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Faulty]]:
    """One of each fault, for processes side by side."""
    with ExitStack() as stack:
        yield [
            Faulty(
                fault,
                receiver := stack.enter_context(Receiver().start(request.param, fault)),
                receiver.environment | {"HAAS_OTEL_DIR": str(tmp_path / fault)},
            )
            for fault in FAULTS
        ]


def test_a_faulty_collector_neither_holds_up_the_end_nor_loses_a_span(
    faulty: list[Faulty], processes: Programs
) -> None:
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}  # a stock exporter waits as long as that
    started = [processes.start("make", "5", **each.variables, **patient) for each in faulty]
    for each, process in zip(faulty, started, strict=True):
        _, errors = process.communicate()
        assert process.returncode == 0, each.fault
        assert "Traceback" not in errors, each.fault
        assert "spans for otlp are not delivered yet; they are kept in" in errors, each.fault
        assert each.receiver.spans == [], each.fault

    for each in faulty:
        each.receiver.set_fault(None)
    started = [processes.start("deliver", "60", **each.variables) for each in faulty]
    for each, process in zip(faulty, started, strict=True):
        assert process.communicate()[0] == "10\n", each.fault
        assert arrived(each.receiver) == expected(5, "span"), each.fault


def test_a_process_that_lives_on_delivers_when_the_collector_is_back(
    faulty: list[Faulty], processes: Programs, tmp_path: Path
) -> None:
    # Short, for what hangs, and longer than a healthy one takes to answer on a busy machine.
    quick = {"OTEL_EXPORTER_OTLP_TIMEOUT": "6"}
    started = [processes.start("make-and-wait", "5", **each.variables, **quick) for each in faulty]
    for each, process in zip(faulty, started, strict=True):
        assert process.stdout.readline() == "made\n", each.fault
        wait_until(lambda fault=each.fault: has_failed(tmp_path / fault))
        assert each.receiver.spans == [], each.fault

    for each in faulty:
        each.receiver.set_fault(None)
    for each, process in zip(faulty, started, strict=True):
        each.receiver.wait_for(lambda spans: len(spans) >= 10)
        wait_until(lambda fault=each.fault: waiting(tmp_path / fault) == 0)
        _, errors = process.communicate("go\n")
        assert process.returncode == 0, each.fault
        assert "not delivered yet" not in errors, each.fault
        assert arrived(each.receiver) == expected(5, "span"), each.fault


@pytest.mark.parametrize("seed", range(20) if CHAOS else [1])
def test_an_exception_from_a_signal_handler_at_any_moment_harms_nothing(
    processes: Programs, directory: Path, seed: int
) -> None:
    """A span whose end returned is kept, those before and after it too, and nothing hangs."""
    program = Path(__file__).with_name("interrupted.py")
    told = processes.run(str(directory), str(seed), program=program)
    returned, interrupted, on_disk = json.loads(told.stdout)

    assert interrupted > 100
    assert len(returned) > 100
    assert on_disk
    names = {span.name for span in TraceStore(directory).tasks(limit=20_000)}
    assert names >= set(returned)
    assert list((directory / "journal").iterdir()) == []


def test_a_forked_child_delivers_what_it_makes(receiver: Receiver, processes: Programs) -> None:
    """gRPC's channels do not survive a fork: the child makes its own."""
    late = {"OTEL_BSP_SCHEDULE_DELAY": "60000", **receiver.environment}  # else a request may be cut
    processes.run("fork", "3", **late)

    assert arrived(receiver) == expected(3, "span", "forked")


@pytest.fixture
def full_disk(small_disk: None, directory: Path) -> None:
    with (directory / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@pytest.mark.parametrize("small_disk", [256], indirect=True)
@pytest.mark.parametrize("receiver", ["http/protobuf"], indirect=True)
def test_on_a_full_disk_spans_go_out_from_memory(
    full_disk: None, receiver: Receiver, processes: Programs, directory: Path
) -> None:
    ended = processes.run("make-and-flush", "3", **receiver.environment)

    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr
    assert not list(directory.glob("machine-id.*")), "what could not be written is taken away"
    assert "lost" not in ended.stderr
    assert arrived(receiver) == expected(3, "span")


@pytest.mark.parametrize("small_disk", [256], indirect=True)
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_on_a_full_disk_without_a_collector_the_task_goes_on(
    full_disk: None, processes: Programs, endpoint: str
) -> None:
    ended = processes.run("make", "3", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("kept in memory only") == 1
    assert ended.stderr.count("spans are lost") == 1
    assert "kept in /" not in ended.stderr


@pytest.mark.parametrize(
    ("what", "number", "by"),
    [
        ("wait", signal.SIGTERM, "system"),
        ("person_cleanup", signal.SIGTERM, "system"),
        ("ignore", signal.SIGTERM, "system"),
        ("leave", signal.SIGINT, "user"),
    ],
    ids=["in a flow", "without one", "in a body that does not heed it", "in a thread left behind"],
)
def test_a_run_whose_process_a_signal_ends_is_cancelled(
    runs: Programs, directory: Path, what: str, number: signal.Signals, by: str
) -> None:
    """The last as what a task worker runs in its loop when somebody ends that by Ctrl-C."""
    process = runs.start(what)
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    code = process.wait()

    assert number is signal.SIGINT or code == -number
    (span,) = TraceStore(directory).tasks()
    assert span.task_status == "Cancelled"
    assert span.attributes["prefect.ended_by"] == by


def test_the_first_process_of_a_container_is_gone_when_its_run_is_ended(
    prefect_server: str, directory: Path
) -> None:
    """The kernel spares it the signal that ends any other."""
    container = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--pid", "--fork"]
    made = subprocess.run([*container, "true"], check=False)
    require("a first process", made.returncode == 0, "run as root, who may make a PID namespace")
    program = Path(__file__).with_name("signals_program.py")
    variables = {"HAAS_OTEL_DIR": str(directory), "PREFECT_API_URL": prefect_server}
    with subprocess.Popen(
        [*container, sys.executable, program, "person_cleanup"],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "running\n"
            (first,) = psutil.Process(process.pid).children()
            first.terminate()
            assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        finally:
            process.kill()

    (span,) = TraceStore(directory).tasks()
    assert span.task_status == "Cancelled"


@pytest.mark.parametrize("receiver", ["http/protobuf"], indirect=True)
def test_a_run_that_is_terminated_hears_what_a_slow_collector_answers(
    receiver: Receiver, runs: Programs, processes: Programs, directory: Path
) -> None:
    """Or the next process would send the span once more."""
    receiver.rule = lambda _, message: time.sleep(1) if message.ByteSize() else None
    process = runs.start("wait", **receiver.environment)
    assert process.stdout.readline() == "running\n"
    known = directory / "exporter-otlp.json"  # that it answers
    wait_until(lambda: known.exists() and "true" in known.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert [span.name for span in receiver.spans] == ["BackgroundTask.PersonCleanupTask"]

    processes.run("deliver", "60", **receiver.environment)
    assert receiver.duplicates == {}


def test_the_embedded_store_shows_what_a_killed_process_had_ended(
    processes: Programs, directory: Path
) -> None:
    processes.run("make-and-die", "3", code=-signal.SIGKILL)

    store = TraceStore(directory)
    assert [span.name for span in store.tasks()] == ["span 2", "span 1", "span 0"]
    assert [s.name for s in store.trace(store.tasks()[0].trace_id)] == ["span 2", "child of span 2"]
