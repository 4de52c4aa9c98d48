"""Cleaning up people: who is referred to stays, whoever is writing at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from haas_media.catalog.models import Credit, Person
from haas_media.catalog.store_titles import store_title
from haas_media.library.cleanup import cleanup_people
from haas_media.providers.records import CreditRecord, MovieRecord
from tests.chaos import CHAOS
from tests.databases import on_both_databases, on_postgresql
from tests.waits import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from haas_media.catalog.opening import Catalog
    from haas_media.library.cleanup import CleanupReport
    from haas_media.progress import Progress
    from tests.fake_tmdb import FakeTmdb

    from .contents import Librarian

ROUNDS = 200 if CHAOS else 20


def _movie(tmdb_id: int, *person_ids: int) -> MovieRecord:
    credits_of_it = tuple(CreditRecord(i, f"Person {i}", "cast") for i in person_ids)
    return MovieRecord(tmdb_id, f"Movie {tmdb_id}", credits=credits_of_it)


def _store(catalog: Catalog, record: MovieRecord) -> None:
    catalog.write(lambda session: store_title(session, record))


def _add_people(catalog: Catalog, *person_ids: int) -> None:
    with catalog.session() as session:
        session.add_all([Person(id=i, name=f"Person {i}") for i in person_ids])


# -- the four scenarios ------------------------------------------------------------------------


def test_shared_cast_is_kept(librarian: Librarian, tmdb: FakeTmdb) -> None:
    for tmdb_id in (1, 2):
        tmdb.catalogue.add_movie(tmdb_id, f"Movie {tmdb_id}", cast=[(7, "Shared", "Both")])
        librarian.add("movie", tmdb_id)
    removed = librarian.remove("movie", 1)
    report = librarian.cleanup(removed.person_ids)
    assert librarian.people() == {7: "Shared"}
    assert (report.checked, report.deleted, report.kept) == (1, 0, 1)


def test_an_orphan_is_deleted(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(1, "One", cast=[(7, "Orphan", "A")], crew=[(8, "Crew", "Editor")])
    librarian.add("movie", 1)
    removed = librarian.remove("movie", 1)
    report = librarian.cleanup(removed.person_ids)
    assert librarian.people() == {}
    assert (report.checked, report.deleted, report.kept) == (2, 2, 0)


def test_a_director_of_a_movie_and_a_show_is_kept(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(1, "Movie", crew=[(7, "Director", "Director")])
    tmdb.catalogue.add_show(2, "Show", crew=[(7, "Director", "Director")])
    librarian.add("movie", 1)
    librarian.add("tv", 2)
    librarian.cleanup(librarian.remove("movie", 1).person_ids)
    assert librarian.people() == {7: "Director"}
    librarian.cleanup(librarian.remove("tv", 2).person_ids)
    assert librarian.people() == {}


@on_both_databases
def test_a_guest_star_of_a_deleted_show_is_deleted(librarian: Librarian, tmdb: FakeTmdb) -> None:
    guests = {(1, 1): [(7, "Guest", "X"), (8, "Guest of both", "Y")]}
    tmdb.catalogue.add_show(1, "Deleted", guests=guests)
    tmdb.catalogue.add_show(2, "Kept", guests={(1, 2): [(8, "Guest of both", "Z")]})
    librarian.add("tv", 1)
    librarian.add("tv", 2)
    librarian.cleanup(librarian.remove("tv", 1).person_ids)
    assert librarian.people() == {8: "Guest of both"}


# -- everybody, in batches ---------------------------------------------------------------------


@on_both_databases
def test_everybody_is_looked_at_in_transactions_that_others_can_come_between(
    librarian: Librarian,
) -> None:
    with librarian.catalog.session() as session:
        numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
        session.execute(text(f"INSERT INTO people (id, name) {numbers} SELECT i, 'P' FROM n"))
    _store(librarian.catalog, _movie(1, 10, 20, 30))
    told: list[Progress] = []

    def credit_another(progress: Progress) -> None:
        if not told:
            _store(librarian.catalog, _movie(2, 60000))
        told.append(progress)

    report = librarian.cleanup(on_progress=credit_another)
    assert set(librarian.people()) == {10, 20, 30, 60000}
    assert (report.checked, report.deleted) == (60000, 59996)
    assert [progress.fraction for progress in told] == [pytest.approx(5 / 6), 1.0]
    assert librarian.cleanup().deleted == 0


@on_both_databases
def test_only_the_people_that_are_named_are_looked_at(librarian: Librarian) -> None:
    """However many they are: databases take tens of thousands of values at the most."""
    _add_people(librarian.catalog, *range(1, 11))
    report = librarian.cleanup([9, 3, 3, 5, 4, *range(77, 33_000)])
    assert set(librarian.people()) == {1, 2, 6, 7, 8, 10}
    assert (report.checked, report.deleted) == (4, 4)


# -- with others at work -----------------------------------------------------------------------


@on_postgresql
def test_who_is_being_credited_at_this_moment_is_kept_and_not_waited_for(
    librarian: Librarian,
) -> None:
    _add_people(librarian.catalog, 7, 8)
    with librarian.catalog.session() as scan:
        store_title(scan, _movie(1, 7))
        report = librarian.cleanup()
        assert report.deleted == 1
    assert set(librarian.people()) == {7}


@contextmanager
def _held_up(catalog: Catalog) -> Iterator[Future[CleanupReport]]:
    """Clean up, held up between finding the orphans and deleting them; end it afterwards."""
    with ThreadPoolExecutor(1) as pool, catalog.engine.connect() as connection:
        for statement in (
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN OLD; END $$",
            "CREATE TRIGGER wait BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION wait()",
            "SELECT pg_advisory_lock(7)",
        ):
            connection.execute(text(statement))
            connection.commit()
        try:
            cleaning = pool.submit(cleanup_people, catalog)
            _wait_for_a_lock(catalog, "advisory")
            yield cleaning
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(7)"))
            cleaning.result(PATIENCE)
            connection.execute(text("DROP FUNCTION wait CASCADE"))
            connection.commit()


def _wait_for_a_lock(catalog: Catalog, kind: str) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = :kind"

    def is_waited_for() -> bool:
        with catalog.reading() as session:
            return bool(session.scalar(text(waiting), {"kind": kind}))

    wait_until(is_waited_for, interval=0.01, what=f"somebody to wait for {kind}")


@on_postgresql
def test_who_is_credited_after_the_statement_began_is_kept(librarian: Librarian) -> None:
    _add_people(librarian.catalog, 7, 8)
    with _held_up(librarian.catalog) as cleaning, librarian.catalog.engine.begin() as connection:
        # Past the lock on the row: what a writer that committed just before leaves behind.
        for statement in (
            "SET LOCAL session_replication_role = replica",
            "INSERT INTO movies (id, tmdb_id, title, match_key, genres, popularity, source, "
            "added_at) VALUES (1, 1, 'M', 'm|', '[]', 0, 'tmdb', now())",
            "INSERT INTO credits (person_id, movie_id, kind, weight) VALUES (7, 1, 'cast', 100)",
        ):
            connection.execute(text(statement))
    assert set(librarian.people()) == {7}
    assert cleaning.result().deleted == 1


@on_postgresql
def test_whoever_credits_somebody_under_deletion_waits_and_makes_them_anew(
    librarian: Librarian,
) -> None:
    _add_people(librarian.catalog, 7)
    with ThreadPoolExecutor(1) as pool, _held_up(librarian.catalog) as cleaning:
        scan = pool.submit(_store, librarian.catalog, _movie(1, 7))
        _wait_for_a_lock(librarian.catalog, "transactionid")
        assert not scan.done()
    scan.result(PATIENCE)
    assert cleaning.result().deleted == 1
    assert set(librarian.people()) == {7}


@on_both_databases
def test_a_cleanup_beside_writers_never_errs_and_never_takes_a_credited_person(
    librarian: Librarian,
) -> None:
    rounds = [0] * 4

    def work(number: int) -> None:
        # Until everybody has had many turns; who is done waits for nobody else.
        while min(rounds) < ROUNDS:
            if number == 0:
                librarian.cleanup()
            else:
                seed = rounds[number] * 7 + number * 3
                # Most of a movie's people change each time, so that many are orphans for a moment.
                _store(
                    librarian.catalog, _movie(number, *(1 + (seed + k * k) % 40 for k in range(12)))
                )
            rounds[number] += 1
            time.sleep(0.001)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result()
    librarian.cleanup()
    with librarian.catalog.reading() as session:
        credited = set(session.scalars(select(Credit.person_id)))
    assert set(librarian.people()) == credited
    assert len(credited) > 12
