"""A line is on disk when append returns, and stays there until it is sent."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from haas_otel.delivery import segments
from haas_otel.delivery.segments import Journal, Segment, is_alive, is_span, read_lines

if TYPE_CHECKING:
    from tests.haas_otel.given import MonkeyPatch, Warnings


def of_spans(directory: Path) -> Journal:
    journal = Journal(directory)
    journal.send_to(["otlp"])
    return journal


def files(directory: Path) -> list[Path]:
    return sorted((directory / "journal").glob("*.jsonl"))


def going_on(directory: Path) -> dict[str, bytes]:
    """The start records that are open, by key."""
    found: dict[str, bytes] = {}
    for path in files(directory):
        starts = Segment(path).read().starts
        assert not found.keys() & starts.keys()
        found |= starts
    return found


def text_of(line: bytes) -> str:
    return line.decode().rstrip("\n").removeprefix("otlp\t")


def kept(journal: Journal) -> list[str]:
    paths = [*journal.paths, *([journal.memory] if journal.memory else [])]
    lines = [line for path in paths for _, line in read_lines(path, 0) if is_span(line)]
    return [text_of(line) for line in lines]


def left_by_the_dead(directory: Path) -> list[str]:
    return [
        text_of(line)
        for path in files(directory)
        if not is_alive(path)
        for _, line in read_lines(path, 0)
        if is_span(line)
    ]


def test_nobody_else_may_read_what_spans_tell(directory: Path) -> None:
    journal = of_spans(directory)
    journal.append(b"secret")

    (path,) = files(directory)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_closed_journal_leaves_its_lines_to_others(directory: Path) -> None:
    journal = of_spans(directory)
    journal.append(b"one")
    assert left_by_the_dead(directory) == []

    journal.close()

    assert left_by_the_dead(directory) == ["one"]


def test_runs_that_go_on_are_known_until_they_end(
    directory: Path, monkeypatch: MonkeyPatch
) -> None:
    journal = of_spans(directory)
    for key in ("a", "b", "c"):
        journal.start(key, b'{"number": 1}')
    journal.start("b", b'{"number": 2}')
    journal.append(b"a span", "a")
    journal.end("c")
    journal.end("c")
    assert going_on(directory) == {"b": b'{"number": 2}'}

    # A new segment begins with what goes on: the ones before may be removed.
    monkeypatch.setattr(segments, "_SEGMENT_BYTES", 10)
    journal.append(b"another span")
    first, second = files(directory)
    assert json.loads(going_on(directory)["b"]) == {"number": 2}
    assert all(map(is_alive, (first, second)))
    first.unlink()
    journal.release(first)
    assert json.loads(going_on(directory)["b"]) == {"number": 2}
    assert kept(journal) == ["another span"]

    journal.close()
    assert "b" in going_on(directory)
    assert not is_alive(second)


def test_a_journal_of_start_records_alone_leaves_nothing_when_all_has_ended(
    directory: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_SEGMENT_BYTES", 10)
    journal = Journal(directory)
    for number in range(5):
        journal.start(f"{number}", b"{}")
        journal.end(f"{number}")
        assert len(files(directory)) == 1
    journal.close()
    assert list((directory / "journal").iterdir()) == []


@pytest.mark.parametrize("small_disk", [64], indirect=True)
def test_a_full_disk_loses_nothing_and_is_used_when_there_is_room_again(
    small_disk: None, directory: Path, warnings: Warnings
) -> None:
    ballast = directory / "ballast"
    ballast.write_bytes(b"x" * 48 * 1024)
    journal = of_spans(directory)
    journal.start("early", b"{}")
    lines = [f"{number:03}{'x' * 997}" for number in range(30)]
    for line in lines:
        journal.append(line.encode())
    journal.start("late", b"{}" + b" " * 4096)
    journal.append(b"y" * 4096, "early")

    assert journal.memory is not None
    assert [text for text in kept(journal) if len(text) == 1000] == lines
    (warning,) = warnings()
    assert "kept in memory only" in warning

    # A line that was torn by the end of the disk harms no other.
    ballast.unlink()
    journal.append(b"after")
    assert going_on(directory).keys() == {"late"}
    journal.close()
    whole = {*lines, "after", "y" * 4096}
    assert whole <= {*left_by_the_dead(directory)}
    assert journal.memory is None


def test_a_folder_that_may_not_be_looked_into_has_nothing(directory: Path) -> None:
    journal = of_spans(directory)
    journal.append(b"one")
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setuid(65534)
            os._exit(len(segments.Segments(Journal(directory)).there()))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("module", "name"), [(os, "open"), (Path, "rename")])
def test_a_file_whose_begin_was_interrupted_does_not_stay(
    directory: Path, monkeypatch: MonkeyPatch, module: object, name: str
) -> None:
    """A signal handler raises when the call has succeeded, and before that is noted."""
    journal, real = of_spans(directory), getattr(module, name)

    def interrupted(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append(b"lost")
    assert list((directory / "journal").iterdir()) == []

    journal.append(b"kept")
    assert kept(journal) == ["kept"]
    assert [*journal.paths] == list((directory / "journal").iterdir())


def test_memory_is_bounded_and_what_is_dropped_is_counted(
    directory: Path, warnings: Warnings, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_MOST_IN_MEMORY", 3)
    directory.write_text("a file where the folder should be")
    journal = of_spans(directory)

    for number in range(7):
        journal.append(f"{number}".encode())

    assert kept(journal) == ["0", "1", "2"]
    assert [w for w in warnings() if "dropped" in w] == [
        f"{count} spans dropped: no disk, no collector takes them" for count in (1, 2, 4)
    ]
    journal.forget_memory()
    journal.append(b"7")
    assert kept(journal) == ["7"]
    journal.close()


def test_a_child_that_lives_on_does_not_keep_its_dead_parents_lock(directory: Path) -> None:
    told, go = os.pipe(), os.pipe()

    parent = os.fork()
    if parent == 0:
        journal = of_spans(directory)
        journal.append(b"parent")
        child = os.fork()
        if child == 0:
            journal.forget_after_fork()
            os.write(told[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
        os.read(told[0], 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)

    left = left_by_the_dead(directory)
    os.write(go[1], b"x")
    for end in (*told, *go):
        os.close(end)
    assert left == ["parent"]


def test_a_child_that_lives_on_does_not_keep_what_its_parent_has_let_go(directory: Path) -> None:
    of_spans(directory).append(b"one")
    (path,) = files(directory)
    go = os.pipe()
    with segments.locked(path) as mine:
        assert mine
        child = os.fork()
        if child == 0:
            os.read(go[0], 1)
            os._exit(0)
    with segments.locked(path) as again:
        assert again
    os.write(go[1], b"x")
    os.waitpid(child, 0)
