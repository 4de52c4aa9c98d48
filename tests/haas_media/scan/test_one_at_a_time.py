"""A library is scanned by one scan at a time, whatever anybody's record of runs says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from haas_media.catalog import CatalogError, is_out_of_reach, open_catalog
from haas_media.catalog.models import Library
from tests.databases import on_both_databases, on_postgresql

if TYPE_CHECKING:
    from haas_media.progress import Progress
    from tests.haas_media.scan.shelf import House

HOLDER = """
import sys
from haas_media.catalog import open_catalog
from haas_media.catalog.locks import scanning
with open_catalog(sys.argv[1]) as catalog:
    with scanning(catalog, [int(sys.argv[2])], "amber-fox", print):
        print("held", flush=True)
        sys.stdin.read()
"""
CUT = text(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = :name"
)


def url_of(house: House) -> str:
    return house.catalog.engine.url.render_as_string(hide_password=False)


@on_both_databases
def test_who_finds_a_library_held_waits_says_for_whom_and_goes_on(house: House) -> None:
    house.films.put("Heat (1995).mkv")
    house.scan()
    with house.catalog.reading() as session:
        films = session.query(Library.id).filter_by(title="Films").scalar()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url_of(house), str(films)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    house.films.put("Ran (1985).mkv")
    seen: list[Progress] = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        if progress.phase == "waiting" and holder.poll() is None:
            os.kill(holder.pid, signal.SIGKILL)  # the lock dies with its process
            holder.wait()

    assert house.scan(library="Shows", on_progress=seen.append).libraries[0].online
    assert "waiting" not in {progress.phase for progress in seen}, "another library is free"
    assert house.scan(on_progress=look).counts()["new"] == 1
    assert "Films is in use by amber-fox" in {progress.current for progress in seen}


@on_postgresql
def test_who_has_lost_a_library_writes_no_more_and_tries_again(house: House) -> None:
    """A server that restarts ends the connection of the lock; the pool makes the others anew."""

    def cut(name: str) -> None:
        with open_catalog(url_of(house)) as other, other.session() as session:
            session.execute(CUT, {"name": name})

    def cut_both(progress: Progress) -> None:
        if progress.phase == "waiting":
            cut("waits")
        elif progress.phase == "identifying":
            with pytest.raises(OperationalError) as waiting:
                house.scan(holder="waits", on_progress=cut_both)
            assert is_out_of_reach(waiting.value)
            cut("scans")

    house.films.put("Heat (1995).mkv")
    with pytest.raises(OperationalError) as lost:
        house.scan(holder="scans", on_progress=cut_both)
    assert is_out_of_reach(lost.value)
    assert house.scan().counts()["new"] == 1


@on_postgresql
def test_a_machine_that_is_gone_gives_its_libraries_back_in_a_minute(house: House) -> None:
    """Its server waits for two hours by itself, which cannot be seen through a local socket."""
    asked: dict[str, str] = {}

    def note(*executed: Any) -> None:
        if "set_config" in executed[2]:
            asked[executed[3]["setting"]] = executed[3]["value"]

    event.listen(house.catalog.engine, "before_cursor_execute", note)
    house.scan()
    idle, interval, count = (
        int(asked[f"tcp_keepalives_{each}"]) for each in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 60


@on_both_databases
def test_libraries_are_given_back_when_a_scan_ends_or_fails(house: House) -> None:
    class Stop(BaseException):
        pass

    def stop(_: Progress) -> None:
        raise Stop

    def waits(_: Progress) -> None:
        assert _.phase != "waiting"

    for _ in range(2):
        thread = threading.Thread(target=_failing, args=(house, stop, Stop))
        thread.start()
        thread.join()
        house.scan(on_progress=waits)


def test_a_lock_that_cannot_be_taken_is_said_in_a_sentence(house: House) -> None:
    """As in a folder that may not be written."""
    lock = Path(f"{house.catalog.sqlite_file}.library-1.lock")
    lock.mkdir()
    with pytest.raises(CatalogError, match=rf"The lock {lock} cannot be taken: Is a directory\."):
        house.scan()


def _failing(house: House, stop: object, error: type[BaseException]) -> None:
    try:
        house.scan(on_progress=stop)
    except error:
        return
    raise AssertionError("it did not fail")
