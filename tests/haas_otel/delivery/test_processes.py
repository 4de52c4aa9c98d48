"""Real processes, killed and crowded, with a real receiver: every span arrives exactly once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from haas_otel.delivery import TraceStore
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = ["refuse", "silent", "hang", "503", "drop"]


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
    return [*(directory / "journal").glob("*"), *(directory / "owners").glob("*")]


def test_a_process_that_ends_delivers_its_spans(
    receiver: Receiver, processes: Any, directory: Path
) -> None:
    ended = processes.run("make", "3", **receiver.environment)

    assert ended.returncode == 0
    assert ended.stderr == ""
    assert arrived(receiver) == expected(3, "span")
    assert left_on_disk(directory) == []
    children = {s.parent_span_id for s in receiver.spans if s.name.startswith("child")}
    assert children == {s.span_id for s in receiver.spans if s.name.startswith("span")}


def test_the_spans_of_a_killed_process_are_delivered_by_the_next(
    receiver: Receiver, processes: Any, directory: Path
) -> None:
    # Killed before its sender has begun: nothing is out yet.
    killed = processes.run(
        "make-and-die", "20", "killed", OTEL_BSP_SCHEDULE_DELAY="60000", **receiver.environment
    )
    assert killed.returncode == -signal.SIGKILL
    assert receiver.spans == []

    processes.run("make", "1", "next", **receiver.environment)
    # On a busy machine that one may have had no time either; then this one has.
    processes.run("deliver", "60", **receiver.environment)

    assert arrived(receiver) == sorted(expected(20, "killed") + expected(1, "next"))
    assert left_on_disk(directory) == []


@pytest.mark.parametrize("receiver", ["grpc"], indirect=True)
def test_eight_processes_at_once_deliver_each_span_once(
    receiver: Receiver, processes: Any, directory: Path
) -> None:
    names = [f"p{number}" for number in range(8)]
    # With time to hear the answers: a request cut off by the end of its process is repeated.
    started = [
        processes.start("make-and-flush", "100", name, **receiver.environment) for name in names
    ]
    for process in started:
        assert process.wait(timeout=120) == 0
    # Of the last ones to end, some may have left theirs because another process was at the file.
    processes.run("deliver", "60", **receiver.environment)

    assert Counter(arrived(receiver)) == Counter(expected(100, *names))
    assert len(receiver.spans) == 1600
    assert left_on_disk(directory) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_collector_neither_holds_up_the_end_nor_loses_a_span(
    receiver: Receiver, processes: Any, fault: Any
) -> None:
    receiver.set_fault(fault)
    ended = processes.run("make", "5", **receiver.environment)

    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert re.search("spans for otlp are not delivered yet; they are kept in", ended.stderr)
    assert receiver.spans == []

    receiver.set_fault(None)
    delivered = processes.run("deliver", "60", **receiver.environment)

    assert delivered.stdout == "10\n"
    assert arrived(receiver) == expected(5, "span")


def test_a_process_that_lives_on_delivers_when_the_collector_is_back(
    receiver: Receiver, processes: Any
) -> None:
    receiver.set_fault("refuse")
    process = processes.start("make-and-wait", "5", **receiver.environment)
    assert process.stdout.readline() == "made\n"

    receiver.set_fault(None)
    receiver.wait_for(lambda spans: len(spans) >= 10, timeout=60)
    _, errors = process.communicate("go\n", timeout=60)

    assert process.returncode == 0
    assert "not delivered yet" not in errors
    assert arrived(receiver) == expected(5, "span")


def test_a_process_ended_by_a_signal_leaves_its_spans_on_disk(
    receiver: Receiver, processes: Any
) -> None:
    receiver.set_fault("refuse")
    process = processes.start("make-and-wait", "5", **receiver.environment)
    assert process.stdout.readline() == "made\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
    receiver.set_fault(None)

    processes.run("deliver", "60", **receiver.environment)

    assert arrived(receiver) == expected(5, "span")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_exception_from_a_signal_handler_at_any_moment_harms_nothing(
    directory: Path, seed: int
) -> None:
    """A span whose end returned is kept, those before and after it too, and nothing hangs."""
    program = Path(__file__).with_name("interrupted.py")
    told = subprocess.run(
        [sys.executable, str(program), str(directory), str(seed)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    returned, interrupted, on_disk = json.loads(told.stdout)

    assert interrupted > 100
    assert len(returned) > 100
    assert on_disk
    names = {span.name for span in TraceStore(directory).tasks(limit=10_000)}
    assert names >= set(returned)
    assert list((directory / "journal").iterdir()) == []


def test_a_forked_child_delivers_what_it_makes(receiver: Receiver, processes: Any) -> None:
    """gRPC's channels do not survive a fork: the child makes its own."""
    ended = processes.run("fork", "3", "span", **receiver.environment)
    processes.run("deliver", "60", **receiver.environment)

    assert ended.returncode == 0, ended.stderr
    assert arrived(receiver) == expected(3, "span", "forked")


def test_a_damaged_store_is_put_aside_by_the_first_of_many(processes: Any, directory: Path) -> None:
    directory.mkdir()
    (directory / "traces.db").write_bytes(b"damaged " * 1000)
    with Receiver().start("http/protobuf") as receiver:
        started = [processes.start("make", "5", f"p{i}", **receiver.environment) for i in range(4)]
        errors = [process.communicate(timeout=60)[1] for process in started]
        processes.run("deliver", "60", **receiver.environment)

        assert arrived(receiver) == expected(5, *(f"p{i}" for i in range(4)))
    assert sum("put aside" in each for each in errors) == 1


@pytest.fixture
def full_disk(directory: Path) -> Iterator[Path]:
    """A file system of 256 KiB without a free byte, where the spans are to be kept."""
    import os

    directory.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"a tmpfs cannot be mounted: {made.stderr.decode()}")
        pytest.skip("mounting a tmpfs needs root")
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    yield ballast
    subprocess.run(["umount", "-l", str(directory)], check=True)


def test_on_a_full_disk_spans_go_out_from_memory(
    full_disk: Path, receiver: Receiver, processes: Any
) -> None:
    ended = processes.run("make", "3", **receiver.environment)

    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr
    assert arrived(receiver) == expected(3, "span")


def test_on_a_full_disk_without_a_collector_the_task_goes_on(
    full_disk: Path, processes: Any
) -> None:
    ended = processes.run("make", "3")

    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("kept in memory only") == 1


def test_the_embedded_store_shows_what_a_killed_process_had_ended(
    processes: Any, directory: Path
) -> None:
    processes.run("make-and-die", "3")

    store = TraceStore(directory)
    assert [span.name for span in store.tasks()] == ["span 2", "span 1", "span 0"]
    assert [s.name for s in store.trace(store.tasks()[0].trace_id)] == ["span 2", "child of span 2"]
