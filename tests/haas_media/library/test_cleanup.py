"""Cleaning up people: who is referred to stays, whoever is writing at the same time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from haas_media.catalog.models import Credit, Person
from haas_media.catalog.titles import store_movie
from haas_media.library import cleanup
from haas_media.library.add import add_to_library
from haas_media.library.cleanup import cleanup_people
from haas_media.library.remove import remove_from_library
from haas_media.providers import CreditRecord, MovieRecord

from .contents import people

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.progress import Progress
    from haas_media.tmdb import TmdbClient
    from tests.fake_tmdb import FakeTmdb


def _movie(tmdb_id: int, *person_ids: int) -> MovieRecord:
    credits_of_it = tuple(CreditRecord(i, f"Person {i}", "cast") for i in person_ids)
    return MovieRecord(tmdb_id, f"Movie {tmdb_id}", credits=credits_of_it)


def _store(catalog: Catalog, record: MovieRecord) -> None:
    catalog.write(lambda session: store_movie(session, record))


def _add_people(catalog: Catalog, *person_ids: int) -> None:
    with catalog.session() as session:
        session.add_all([Person(id=i, name=f"Person {i}") for i in person_ids])


# -- the four scenarios ------------------------------------------------------------------------


def test_shared_cast_is_kept(catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb) -> None:
    for tmdb_id in (1, 2):
        tmdb.catalogue.add_movie(tmdb_id, f"Movie {tmdb_id}", cast=[(7, "Shared", "Both")])
        add_to_library(catalog, provider, "movie", tmdb_id)
    removed = remove_from_library(catalog, "movie", 1)
    report = cleanup_people(catalog, removed.person_ids)
    assert people(catalog) == {7: "Shared"}
    assert (report.checked, report.deleted, report.kept) == (1, 0, 1)


def test_an_orphan_is_deleted(catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(1, "One", cast=[(7, "Orphan", "A")], crew=[(8, "Crew", "Editor")])
    add_to_library(catalog, provider, "movie", 1)
    removed = remove_from_library(catalog, "movie", 1)
    report = cleanup_people(catalog, removed.person_ids)
    assert people(catalog) == {}
    assert (report.checked, report.deleted, report.kept) == (2, 2, 0)


def test_a_director_of_a_movie_and_a_show_is_kept(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    tmdb.catalogue.add_movie(1, "Movie", crew=[(7, "Director", "Director")])
    tmdb.catalogue.add_show(2, "Show", crew=[(7, "Director", "Director")])
    add_to_library(catalog, provider, "movie", 1)
    add_to_library(catalog, provider, "tv", 2)
    cleanup_people(catalog, remove_from_library(catalog, "movie", 1).person_ids)
    assert people(catalog) == {7: "Director"}
    cleanup_people(catalog, remove_from_library(catalog, "tv", 2).person_ids)
    assert people(catalog) == {}


def test_a_guest_star_of_a_deleted_show_is_deleted(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    guests = {(1, 1): [(7, "Guest", "X"), (8, "Guest of both", "Y")]}
    tmdb.catalogue.add_show(1, "Deleted", guests=guests)
    tmdb.catalogue.add_show(2, "Kept", guests={(1, 2): [(8, "Guest of both", "Z")]})
    add_to_library(catalog, provider, "tv", 1)
    add_to_library(catalog, provider, "tv", 2)
    cleanup_people(catalog, remove_from_library(catalog, "tv", 1).person_ids)
    assert people(catalog) == {8: "Guest of both"}


# -- everybody, in batches ---------------------------------------------------------------------


def test_everybody_is_looked_at_in_short_transactions(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_BATCH", 7)
    _store(catalog, _movie(1, *range(10, 200, 10)))
    _add_people(catalog, *(i for i in range(1, 201) if i % 10 or i == 200))
    told: list[Progress] = []
    report = cleanup_people(catalog, on_progress=told.append)
    assert set(people(catalog)) == set(range(10, 200, 10))
    assert (report.checked, report.deleted) == (200, 181)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(told) == 29
    assert cleanup_people(catalog).deleted == 0


def test_only_the_people_that_are_named_are_looked_at(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_IDS_PER_QUERY", 2)
    _add_people(catalog, *range(1, 11))
    report = cleanup_people(catalog, [9, 3, 3, 5, 4, 77])
    assert set(people(catalog)) == {1, 2, 6, 7, 8, 10}
    assert (report.checked, report.deleted) == (4, 4)


def test_nobody(catalog: Catalog) -> None:
    assert cleanup_people(catalog).counts() == {"checked": 0, "deleted": 0, "kept": 0}
    assert cleanup_people(catalog, []).checked == 0


@pytest.mark.parametrize("wrong", [0, -5, 2**31, True])
def test_an_id_that_cannot_be_one_is_refused(catalog: Catalog, wrong: int) -> None:
    with pytest.raises(ValueError, match="person ids must be from 1"):
        cleanup_people(catalog, [1, wrong])


def test_the_report(catalog: Catalog) -> None:
    _add_people(catalog, 1, 2)
    _store(catalog, _movie(1, 3))
    report = cleanup_people(catalog)
    assert report.to_json()["deleted"] == 2
    assert report.table() == [{"checked": 3, "deleted": 2, "kept": 1}]
    assert "2 to whom no title refers were deleted, 1 kept" in report.to_markdown()


# -- with others at work -----------------------------------------------------------------------


def test_who_is_being_credited_at_this_moment_is_kept_and_not_waited_for(
    on_postgres: Catalog,
) -> None:
    _add_people(on_postgres, 7, 8)
    with on_postgres.session() as scan:
        store_movie(scan, _movie(1, 7))
        report = cleanup_people(on_postgres)
        assert report.deleted == 1
    assert set(people(on_postgres)) == {7}


def test_who_is_credited_after_the_statement_began_is_kept(on_postgres: Catalog) -> None:
    _add_people(on_postgres, 7, 8)
    interfered: list[str] = []

    # Held up between finding the orphans and deleting them, in the very statement.
    with on_postgres.engine.connect() as connection, connection.begin():
        connection.execute(
            text(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_sleep(0.5); RETURN OLD; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER slow BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION slow()")
        )

    def credit() -> None:
        time.sleep(0.2)
        # Past the lock on the row: what a writer that committed just before leaves behind.
        with on_postgres.engine.begin() as connection:
            connection.execute(text("SET session_replication_role = replica"))
            connection.execute(
                text(
                    "INSERT INTO movies (id, tmdb_id, title, match_key, genres, "
                    "popularity, source, added_at) VALUES (1, 1, 'M', 'm|', '[]', 0, 'tmdb', now())"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO credits (person_id, movie_id, kind, weight) "
                    "VALUES (7, 1, 'cast', 100)"
                )
            )
            connection.execute(text("SET session_replication_role = DEFAULT"))
        interfered.append("yes")

    thread = threading.Thread(target=credit)
    thread.start()
    report = cleanup_people(on_postgres)
    thread.join()
    assert interfered
    assert set(people(on_postgres)) == {7}
    assert report.deleted == 1


def test_whoever_credits_somebody_under_deletion_waits_and_makes_them_anew(
    on_postgres: Catalog,
) -> None:
    _add_people(on_postgres, 7)
    done = threading.Event()

    def scan() -> None:
        _store(on_postgres, _movie(1, 7))
        done.set()

    with on_postgres.session() as session:
        assert cleanup._delete_orphans(session, lambda column: column > 0) == 1
        thread = threading.Thread(target=scan)
        thread.start()
        assert not done.wait(0.3), "the scan waits for the cleanup's transaction"
    thread.join(30)
    assert done.is_set()
    assert set(people(on_postgres)) == {7}


def test_a_cleanup_beside_writers_never_errs_and_never_takes_a_credited_person(
    catalog: Catalog,
) -> None:
    stop = threading.Event()

    def write(number: int) -> int:
        written = 0
        while not stop.is_set():
            ids = [1 + (written * 7 + number * 3 + k * k) % 40 for k in range(12)]
            # Most of a movie's people change each time, so that many are orphans for a moment.
            _store(catalog, _movie(number, *ids))
            written += 1
            time.sleep(0.001)
        return written

    def clean() -> int:
        runs = 0
        while not stop.is_set():
            cleanup_people(catalog)
            runs += 1
            time.sleep(0.001)
        return runs

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(write, n) for n in (1, 2, 3)] + [pool.submit(clean)]
        time.sleep(3)
        stop.set()
        assert all(future.result(60) > 3 for future in work)
    cleanup_people(catalog)
    with catalog.reading() as session:
        credited = set(session.scalars(select(Credit.person_id)))
    assert set(people(catalog)) == credited
    assert len(credited) > 12
