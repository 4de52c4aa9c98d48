"""One file for all processes: each span once, readable, bounded, and mended when it is damaged."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from haas_otel.delivery.codec import decode
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.haas_otel.given import MakeLine, MonkeyPatch, Warnings

    Add = Callable[..., None]


@pytest.fixture
def index(directory: Path) -> Iterator[Index]:
    opened = Index(directory)
    yield opened
    opened.close()


@pytest.fixture
def add(directory: Path) -> Add:
    """Append lines to a segment and have it read."""

    def add(index: Index, *lines: str, segment: str = "1-dead-1.jsonl") -> None:
        path = directory / "journal" / segment
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        index.read([path])

    return add


def stored(directory: Path) -> int:
    with sqlite3.connect(directory / "traces.db") as connection:
        return connection.execute("SELECT count(*) FROM spans").fetchone()[0]


def ids(line: str) -> list[int]:
    return [int(each, 16) for each in json.loads(line.partition("\t")[2])["context"][:2]]


def copies(index: Index, path: Path, *spans: tuple[int, str]) -> set[int]:
    """Return which of the spans at these offsets, of these lines, are copies."""
    found = [(f"{path.name}:{at}", decode(line.partition("\t")[2])) for at, line in spans]
    return {int(source.rpartition(":")[2]) for source in index.copies(found)}


def test_a_span_is_known_once_and_its_copies_are_known_as_such(
    index: Index, directory: Path, make_line: MakeLine, add: Add
) -> None:
    line = make_line("otlp")
    add(index, line, line)
    add(index, line, segment="2-dead-1.jsonl")

    first = directory / "journal" / "1-dead-1.jsonl"
    again = len(line) + 1
    assert stored(directory) == 1
    assert copies(index, first, (0, line), (again, line)) == {again}
    assert copies(index, first.with_name("2-dead-1.jsonl"), (0, line)) == {0}
    assert index.has(*ids(line))
    assert index.segments()["1-dead-1.jsonl"] == 2 * again


def test_a_segment_that_is_still_being_made_is_not_read(
    index: Index, directory: Path, make_line: MakeLine
) -> None:
    """Else the span in it would be taken for the copy of one that nobody sends."""
    draft = directory / "journal" / ".1-begun-1.jsonl"
    draft.parent.mkdir(parents=True)
    draft.write_text(f"{make_line('otlp')}\n")

    index.read_all()
    assert stored(directory) == 0
    draft.rename(draft.with_name("1-begun-1.jsonl"))
    index.read_all()
    assert stored(directory) == 1


def test_what_is_no_span_is_counted_and_harms_no_other(
    index: Index, directory: Path, make_line: MakeLine, add: Add, warnings: Warnings
) -> None:
    good = make_line("otlp")
    span = json.loads(good.partition("\t")[2])
    rubbish = [
        "no tab",
        "otlp\t{",
        "otlp\t[]",
        "otlp\t{}",
        "otlp\t" + "[" * 100_000,
        "otlp\t" + json.dumps(span | {"start": None}),
        "otlp\t" + json.dumps(span | {"attributes": 1}),
    ]

    odd = make_line(task_duration_ms="fast", task_type=[1, 2], task_status=b"x")

    add(index, *rubbish, good, odd)

    assert stored(directory) == 2
    assert warnings() == ["7 lines are no spans: left out"]


def test_the_latest_spans_are_kept_for_a_time_and_up_to_a_number(
    index: Index, directory: Path, make_line: MakeLine, add: Add
) -> None:
    add(index, *(make_line() for _ in range(10)))
    index.prune(Limits(kept_spans=3))
    assert stored(directory) == 3

    for old, left in (("id < 10", 1), ("id", 0)):
        index._transact(lambda c, old=old: c.execute(f"UPDATE spans SET stored_at = 0 WHERE {old}"))
        index.prune(Limits(kept_for=timedelta(days=1)))
        assert stored(directory) == left


def of_a_version_before(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.executescript("CREATE TABLE pending (span); PRAGMA user_version = 1;")


def damaged(file: Path) -> None:
    with file.open("r+b") as written:
        written.seek(4096)
        written.write(os.urandom(200_000))


@pytest.mark.parametrize("spoil", [of_a_version_before, damaged])
def test_a_file_that_cannot_be_read_any_more_is_put_aside(
    index: Index, directory: Path, make_line: MakeLine, add: Add, spoil: Callable[[Path], None]
) -> None:
    add(index, *(make_line("otlp") for _ in range(200)))
    index.close()
    spoil(directory / "traces.db")

    add(index, make_line("otlp"))

    assert stored(directory) > 0
    assert list(directory.glob("traces.db.corrupt-*"))


def test_one_who_has_it_open_moves_to_the_new_file(
    index: Index, directory: Path, make_line: MakeLine, add: Add
) -> None:
    add(index, make_line("otlp"))
    for path in directory.glob("traces.db*"):
        path.rename(f"{path}.old")
    other = Index(directory)
    add(other, make_line("otlp"))

    add(index, make_line("otlp"))

    assert stored(directory) == 3  # read anew, all of them


def made_by_a_newer_version(directory: Path) -> None:
    with sqlite3.connect(directory / "traces.db") as connection:
        connection.execute("PRAGMA user_version = 99")


def no_folder(directory: Path) -> None:
    directory.rmdir()
    directory.write_text("a file")


def cannot_be_put_aside(directory: Path) -> None:
    (directory / "traces.db").write_bytes(b"rubbish " * 1000)
    (directory / "repair.lock").mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (made_by_a_newer_version, "newer version"),
        (no_folder, "otel"),
        (cannot_be_put_aside, "repair"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_and_left_as_it_is(
    index: Index, directory: Path, spoil: Callable[[Path], None], said: str
) -> None:
    directory.mkdir()
    spoil(directory)

    with pytest.raises(IndexUnusable, match=said):
        index.read_all()
    assert not list(directory.glob("*.corrupt*"))


def test_a_locked_file_is_not_taken_for_a_damaged_one(
    index: Index, directory: Path, make_line: MakeLine, add: Add, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("haas_otel.delivery.index._BUSY_SECONDS", 0.05)
    add(index, make_line())
    blocker = sqlite3.connect(directory / "traces.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    index.close()

    with pytest.raises(IndexUnusable, match="locked"):
        add(index, make_line())

    blocker.execute("ROLLBACK")
    index.read_all()
    assert stored(directory) == 2
    assert not list(directory.glob("*.corrupt*"))


def test_another_thread_that_opens_it_leaves_the_locks_of_the_first(directory: Path) -> None:
    """Else the next process to close it takes away the WAL that this one reads."""
    first, second = (Index(directory) for _ in range(2))
    for index in (first, second):
        index.has(0, 0)
    wal = directory / "traces.db-wal"
    assert wal.exists()
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE');"
        " c.execute('COMMIT'); c.close()"
    )
    subprocess.run([sys.executable, "-c", script, str(directory / "traces.db")], check=True)
    assert wal.exists()
    assert not first.has(0, 0)
    first.close()
    second.close()


def test_a_forked_child_leaves_the_locks_of_its_parent(
    index: Index, directory: Path, make_line: MakeLine, add: Add
) -> None:
    """What it stores is there, though its parent, who had the file open first, has closed it."""
    opened, closed = os.pipe(), os.pipe()
    parent = os.fork()
    if parent == 0:
        add(index, make_line())
        child = os.fork()
        if child == 0:
            again = Index(directory)
            again.segments()
            os.write(opened[1], b"x")
            os.read(closed[0], 1)
            add(again, make_line(), segment="2-dead-1.jsonl")
            os._exit(0)
        os.read(opened[0], 1)
        index.close()
        os.write(closed[1], b"x")
        os.waitpid(child, 0)
        os._exit(0)
    os.waitpid(parent, 0)
    for end in (*opened, *closed):
        os.close(end)
    assert stored(directory) == 2
