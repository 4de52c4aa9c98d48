"""A scan that is told to stop stops at once, and the next one makes up for it."""

from __future__ import annotations

import datetime as dt
import signal
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.catalog.models import Person
from haas_media.pool import map_unordered
from haas_media.providers.tmdb import RetryPolicy
from tests.databases import on_both_databases
from tests.fake_tmdb import FakeTmdb, Fault, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from haas_media.progress import Progress
    from tests.haas_media.scan.shelf import House


class Terminated(BaseException):
    """As a signal handler raises it."""


@pytest.fixture(autouse=True)
def _films(tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(603, "The Matrix", "1999-03-31", cast=[(64, "Keanu", "Neo")])
    tmdb.catalogue.add_movie(949, "Heat", "1995-12-15", cast=[(65, "Al", "Vincent")])


@pytest.mark.parametrize("phase", ["walking", "identifying", "probing", "looking up", "people"])
def test_interrupted_in_any_phase_the_next_scan_carries_on(
    house: House, tmdb: FakeTmdb, phase: str
) -> None:
    house.films.put("The Matrix (1999).mkv", "Heat (1995).mkv")
    house.shows.put("Dark/Dark S01E01.mkv")

    def stop(progress: Progress) -> None:
        if progress.phase == phase:
            raise Terminated

    with connected(tmdb.url) as client:
        with pytest.raises(Terminated):
            house.scan(provider=client, on_progress=stop)
        report = house.scan(provider=client)
        assert report.counts()["matched"] == 2
        with house.catalog.reading() as session:
            everybody = session.query(Person).all()
        house.catalog.engine.dispose()
        again = house.scan(provider=client)
        assert (again.counts()["parsed"], again.counts()["probed"], again.requests) == (0, 0, 0)
    assert len(everybody) == 2
    assert all(person.details_fetched_at for person in everybody)


@pytest.mark.parametrize("phase", ["identifying", "probing"])
@pytest.mark.parametrize("cut_off", [True, False])
def test_a_large_part_that_is_gone_is_held_back_by_the_scan_that_ends(
    house: House, tmdb: FakeTmdb, phase: str, cut_off: bool
) -> None:
    """Neither one that was cut off counts as the first, nor one that this one waited for."""
    house.films.put(*(f"Film {number} (1999).mkv" for number in range(12)))
    house.scan()
    before = set(house.files())
    for number in range(6):
        house.films.remove(f"Film {number} (1999).mkv")
    house.films.put(*(f"Other {number} (1999).mkv" for number in range(12)))
    second = threading.Thread(target=house.scan)

    def stop(progress: Progress) -> None:
        if progress.phase == phase and cut_off:
            raise Terminated
        if progress.phase == phase and not second.ident:
            second.start()

    with connected(tmdb.url) as client:
        with pytest.raises(Terminated) if cut_off else nullcontext():
            house.scan(provider=client, on_progress=stop)
        if cut_off:
            assert house.scan(provider=client).counts()["removed"] == 0
        else:
            second.join()
        assert before < set(house.files())
        assert house.scan(provider=client).counts()["removed"] == 6


@on_both_databases
def test_interrupted_within_a_large_folder_nothing_of_it_is_taken_for_unchanged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"Film {number} (1995).mkv" for number in range(10)]
    house.films.put(*paths)
    house.scan()
    for path in paths:
        house.films.put(path, text="no longer a film")
    monkeypatch.setattr("haas_media.scan.identify._BATCH", 3)
    batches = []

    def stop(*_: object) -> None:
        batches.append(1)
        if len(batches) == 3:
            raise Terminated

    monkeypatch.setattr("haas_media.scan.identify.write_batch", _after(stop))
    with pytest.raises(Terminated):
        house.scan()
    monkeypatch.undo()
    assert house.scan().counts()["changed"] > 0
    assert all(file["probe_error"] for file in house.files().values())


def _after(call: Callable[..., None]) -> Callable[..., None]:
    """Write a batch, and call before it is committed."""
    from haas_media.scan.store import write_batch

    def both(*args: Any, **options: Any) -> None:
        write_batch(*args, **options)
        call()

    return both


def test_a_signal_ends_the_wait_for_a_provider_that_stalls(house: House, tmdb: FakeTmdb) -> None:
    house.films.put("The Matrix (1999).mkv")
    hour = dt.timedelta(hours=1)
    tmdb.fail(Fault("stall", seconds=hour.total_seconds()), times=None)

    over = threading.Event()

    def raise_it(*_: object) -> None:
        over.set()
        raise Terminated

    def interrupt() -> None:
        while not tmdb.requests:
            time.sleep(0.01)
        # One that comes right before a system call begins is seen only after that.
        while not over.wait(0.1):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, raise_it)
    threading.Thread(target=interrupt, daemon=True).start()
    patient = connected(tmdb.url, retries=RetryPolicy(attempt_limit=hour), timeout=hour)
    try:
        with pytest.raises(Terminated):
            house.scan(provider=patient)
    finally:
        signal.signal(signal.SIGUSR1, previous)
        patient.close()
    assert house.files()["The Matrix (1999).mkv"]["state"] == "pending"


def test_the_pool_works_on_all_items_in_several_threads() -> None:
    barrier = threading.Barrier(3)

    def work(item: int) -> int:
        barrier.wait(60)
        return item * item

    results = dict(map_unordered(work, range(9), 3))
    assert results == {item: item * item for item in range(9)}


def test_the_pool_takes_items_only_as_it_needs_them() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = map_unordered(lambda item: item, items(), 2)
    next(results)
    assert len(taken) <= 5


def test_the_pool_is_stopped_by_whoever_stops_listening() -> None:
    begun, go_on = [], threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item:
            go_on.wait(60)

    results = map_unordered(work, range(1000), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("haas-scan-"):
            thread.join(60)
    assert len(begun) <= 3
