"""One file for all processes: each span once, each row one process's at a time, all bounded."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from haas_otel.delivery.limits import Limits
from haas_otel.delivery.outbox import Added, Outbox, OutboxUnusable, parts_of
from haas_otel.delivery.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.haas_otel.given import MakeLine, MonkeyPatch, Warnings
    from tests.haas_otel.programs import Programs

LIMITS = Limits()


@pytest.fixture
def outbox(directory: Path) -> Iterator[Outbox]:
    opened = Outbox(directory, LIMITS)
    yield opened
    opened.close()


@pytest.fixture
def owner(directory: Path) -> Iterator[str]:
    held = Owner(directory)
    yield held.id
    held.resign()


def stored(directory: Path) -> int:
    with sqlite3.connect(directory / "traces.db") as connection:
        return connection.execute("SELECT count(*) FROM spans").fetchone()[0]


def bodies(lines: list[str]) -> list[str]:
    return [parts_of(line)[1] for line in lines]


def test_a_span_is_taken_once_whoever_produced_it(
    outbox: Outbox, make_line: MakeLine, owner: str
) -> None:
    line = make_line("otlp")

    assert outbox.add([line, line]) == Added(new=1, rejected=0, dropped=0)
    assert outbox.add([line]) == Added(0, 0, 0)

    assert [leased.body for leased in outbox.lease("otlp", owner)] == bodies([line])


def test_a_delivered_span_is_not_delivered_again_when_it_is_told_again(
    outbox: Outbox, make_line: MakeLine, owner: str
) -> None:
    line = make_line("otlp")
    outbox.add([line])
    outbox.settle("otlp", outbox.lease("otlp", owner))

    outbox.add([line])

    assert outbox.pending(["otlp"]) == 0


def test_what_is_no_span_is_counted_and_harms_no_other(outbox: Outbox, make_line: MakeLine) -> None:
    good = make_line("otlp")
    span = json.loads(parts_of(good)[1])
    rubbish = [
        "no tab",
        "otlp\t{",
        "otlp\t[]",
        "otlp\t{}",
        "otlp\t" + "[" * 100_000,
        "otlp\t" + json.dumps(span | {"start": None}),
        "otlp\t" + json.dumps(span | {"attributes": 1}),
    ]

    assert outbox.add([*rubbish, good]) == Added(new=1, rejected=len(rubbish), dropped=0)
    assert outbox.add(rubbish) == Added(0, len(rubbish), 0)


def test_odd_attributes_are_stored_all_the_same(
    outbox: Outbox, make_line: MakeLine, directory: Path
) -> None:
    outbox.add(
        [
            make_line(task_duration_ms="fast", task_type=[1, 2], task_status=b"x"),
            make_line(task_duration_ms=True),
        ]
    )

    assert stored(directory) == 2


def test_leased_spans_are_one_process_s_alone(
    outbox: Outbox, directory: Path, make_line: MakeLine, owner: str
) -> None:
    other = Owner(directory)
    outbox.add([make_line("otlp")])
    leased = outbox.lease("otlp", other.id)
    assert len(leased) == 1
    assert outbox.lease("otlp", owner) == []

    outbox.release("otlp", leased, refused=False)

    assert outbox.lease("otlp", owner) == leased
    other.resign()


def test_what_a_process_could_not_give_back_it_takes_up_again(
    outbox: Outbox, make_line: MakeLine, owner: str
) -> None:
    outbox.add([make_line("otlp")])
    leased = outbox.lease("otlp", owner)

    assert outbox.lease("otlp", owner) == leased


def test_the_lease_of_a_dead_process_ends_at_once(
    outbox: Outbox, directory: Path, make_line: MakeLine, owner: str, processes: Programs
) -> None:
    outbox.add([make_line("otlp")])
    program = (
        "import sys, os, signal; from pathlib import Path;"
        "from haas_otel.delivery.owner import Owner; from haas_otel.delivery.outbox import Outbox;"
        "from haas_otel.delivery.limits import Limits;"
        "d = Path(sys.argv[1]); n = len(Outbox(d, Limits()).lease('otlp', Owner(d).id));"
        "os.kill(os.getpid(), signal.SIGKILL if n == 1 else signal.SIGTERM)"
    )
    processes.run(program, str(directory), program="-c", code=-signal.SIGKILL)

    assert len(outbox.lease("otlp", owner)) == 1


def test_the_lease_of_a_process_that_hangs_ends_in_time(
    directory: Path, make_line: MakeLine, owner: str
) -> None:
    outbox = Outbox(directory, replace(LIMITS, lease=timedelta(seconds=-1)))
    other = Owner(directory)
    outbox.add([make_line("otlp")])
    outbox.lease("otlp", other.id)

    assert len(outbox.lease("otlp", owner)) == 1
    other.resign()


def test_batches_are_as_large_as_allowed_and_in_order(
    directory: Path, make_line: MakeLine, owner: str
) -> None:
    outbox = Outbox(directory, replace(LIMITS, batch=3))
    lines = [make_line("otlp") for _ in range(5)]
    outbox.add(lines)

    batches = []
    for _ in range(3):
        batches.append(outbox.lease("otlp", owner))
        outbox.settle("otlp", batches[-1])

    assert [[each.body for each in batch] for batch in batches] == [
        bodies(lines[:3]),
        bodies(lines[3:]),
        [],
    ]


def test_a_long_outage_gives_nothing_up(outbox: Outbox, make_line: MakeLine, owner: str) -> None:
    outbox.add([make_line("otlp")])

    for _ in range(50):
        assert outbox.release("otlp", outbox.lease("otlp", owner), refused=False) == 0

    assert outbox.pending(["otlp"]) == 1


def test_spans_that_failed_do_not_keep_others_waiting(
    directory: Path, make_line: MakeLine, owner: str
) -> None:
    outbox = Outbox(directory, replace(LIMITS, batch=1))
    first, second = make_line("otlp"), make_line("otlp")
    outbox.add([first, second])

    outbox.release("otlp", outbox.lease("otlp", owner), refused=False)

    assert [each.body for each in outbox.lease("otlp", owner)] == bodies([second])


def test_undelivered_spans_are_bounded_in_bytes(
    directory: Path, make_line: MakeLine, owner: str
) -> None:
    lines = [make_line("otlp") for _ in range(4)]
    size = len(parts_of(lines[0])[1])
    outbox = Outbox(directory, replace(LIMITS, max_pending_bytes=2 * size + size // 2))

    assert outbox.add(lines).dropped == 2

    assert [each.body for each in outbox.lease("otlp", owner)] == bodies(lines[2:])


def test_old_delivered_spans_are_removed_and_undelivered_ones_kept(
    directory: Path, make_line: MakeLine, owner: str
) -> None:
    outbox = Outbox(directory, replace(LIMITS, kept_for=timedelta(seconds=-1)))
    outbox.add([make_line(), make_line("otlp")])

    outbox.prune()

    assert stored(directory) == 1
    assert len(outbox.lease("otlp", owner)) == 1


def test_the_latest_delivered_spans_are_kept_up_to_a_number(
    directory: Path, make_line: MakeLine, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("haas_otel.delivery.outbox._PRUNE_AT_ONCE", 2)
    outbox = Outbox(directory, replace(LIMITS, kept_spans=3))
    outbox.add([make_line() for _ in range(10)])

    outbox.prune()

    assert stored(directory) == 3


def test_pruning_is_done_once_in_a_while_by_one_process(
    directory: Path, make_line: MakeLine
) -> None:
    outbox = Outbox(directory, replace(LIMITS, kept_spans=0))
    outbox.prune()
    outbox.add([make_line()])

    outbox.prune()
    assert stored(directory) == 1

    Outbox(directory, replace(LIMITS, kept_spans=0, prune_every=timedelta(0))).prune()
    assert stored(directory) == 0


def test_a_file_that_is_damaged_while_it_is_used_is_put_aside(
    outbox: Outbox, directory: Path, make_line: MakeLine
) -> None:
    outbox.add([make_line("otlp") for _ in range(200)])
    outbox.close()
    with (directory / "traces.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(200_000))

    assert outbox.add([make_line("otlp")]).new == 1

    assert list(directory.glob("traces.db.corrupt-*"))


def test_two_who_find_it_damaged_put_it_aside_once(
    directory: Path, make_line: MakeLine, warnings: Warnings
) -> None:
    directory.mkdir()
    (directory / "traces.db").write_bytes(b"rubbish " * 1000)
    line = make_line("otlp")
    outboxes = [Outbox(directory, LIMITS) for _ in range(8)]
    barrier = threading.Barrier(len(outboxes))
    added = []

    def work(each: Outbox) -> None:
        barrier.wait()
        added.append(each.add([line]).new)

    threads = [threading.Thread(target=work, args=(each,)) for each in outboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(added) == [0] * 7 + [1]
    (aside,) = directory.glob("traces.db.corrupt-*")
    assert aside.read_bytes().startswith(b"rubbish")
    (warning,) = warnings()
    assert "put aside" in warning


def test_one_who_has_it_open_moves_to_the_new_file(
    outbox: Outbox, directory: Path, make_line: MakeLine
) -> None:
    outbox.add([make_line("otlp")])
    for path in directory.glob("traces.db*"):
        path.rename(f"{path}.old")
    other = Outbox(directory, LIMITS)
    other.add([make_line("otlp")])

    outbox.add([make_line("otlp")])

    assert other.pending(["otlp"]) == 2


def test_a_file_that_was_removed_is_made_again(
    outbox: Outbox, directory: Path, make_line: MakeLine
) -> None:
    outbox.add([make_line()])
    for path in directory.glob("traces.db*"):
        path.unlink()

    assert outbox.add([make_line()]).new == 1
    assert stored(directory) == 1


def test_the_file_of_a_newer_version_is_left_alone(
    outbox: Outbox, directory: Path, make_line: MakeLine
) -> None:
    outbox.add([make_line()])
    outbox.close()
    with sqlite3.connect(directory / "traces.db") as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(OutboxUnusable, match="newer version"):
        outbox.add([make_line()])
    assert stored(directory) == 1


def test_a_folder_that_cannot_be_made_is_said(directory: Path, make_line: MakeLine) -> None:
    directory.write_text("a file")

    with pytest.raises(OutboxUnusable, match="otel"):
        Outbox(directory, LIMITS).add([make_line()])


def test_a_damaged_file_that_cannot_be_renamed_is_said(
    directory: Path, make_line: MakeLine
) -> None:
    directory.mkdir()
    (directory / "traces.db").write_bytes(b"rubbish " * 1000)
    (directory / "repair.lock").mkdir()

    with pytest.raises(OutboxUnusable, match="repair"):
        Outbox(directory, LIMITS).add([make_line()])


def test_a_file_that_stays_damaged_is_said(
    directory: Path, make_line: MakeLine, monkeypatch: MonkeyPatch
) -> None:
    directory.mkdir()
    (directory / "traces.db").write_bytes(b"rubbish " * 1000)
    monkeypatch.setattr("haas_otel.delivery.outbox._is_broken", lambda path: False)

    with pytest.raises(OutboxUnusable, match="not a database"):
        Outbox(directory, LIMITS).add([make_line()])


def test_a_locked_file_is_not_taken_for_a_damaged_one(
    outbox: Outbox, directory: Path, make_line: MakeLine, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("haas_otel.delivery.outbox._BUSY_SECONDS", 0.05)
    outbox.add([make_line()])
    blocker = sqlite3.connect(directory / "traces.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    outbox.close()

    with pytest.raises(OutboxUnusable, match="locked"):
        outbox.add([make_line()])

    blocker.execute("ROLLBACK")
    assert outbox.add([make_line()]).new == 1
    assert not list(directory.glob("*.corrupt*"))


def test_a_forked_child_opens_the_file_anew(
    outbox: Outbox, directory: Path, make_line: MakeLine
) -> None:
    outbox.add([make_line("otlp")])
    line = make_line("otlp")

    child = os.fork()
    if child == 0:
        leaked = outbox.forget_after_fork()
        os._exit(0 if outbox.add([line]).new == 1 and leaked is not None else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert outbox.pending(["otlp"]) == 2


def test_many_processes_begin_the_file_together(
    directory: Path, make_line: MakeLine, tmp_path: Path, processes: Programs
) -> None:
    lines = [make_line("otlp") for _ in range(50)]
    (tmp_path / "lines").write_text("\n".join(lines))
    program = (
        "import sys; from pathlib import Path; from haas_otel.delivery.outbox import Outbox;"
        "from haas_otel.delivery.limits import Limits; sys.stdin.readline();"
        "o = Outbox(Path(sys.argv[1]), Limits());"
        "print(sum(o.add([x]).new for x in Path(sys.argv[2]).read_text().split('\\n')))"
    )
    arguments = program, str(directory), str(tmp_path / "lines")
    started = [processes.start(*arguments, program="-c") for _ in range(4)]
    for process in started:
        process.stdin.write("go\n")
    told = [int(process.communicate()[0]) for process in started]

    assert sum(told) == 50
    assert stored(directory) == 50
