"""Details of people: 20 of the cast and 12 of the crew of each title, by weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import Movie, Person
from haas_media.catalog.store_titles import store_title
from haas_media.library.people import fetch_people, fetch_people_of_titles, wanted_people
from haas_media.providers.records import (
    CreditRecord,
    MovieRecord,
    ProviderRefused,
)
from tests.databases import on_both_databases
from tests.fake_tmdb import FakeTmdb, Fault

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog

    from .contents import Librarian


def _cast(*ids: int) -> list[CreditRecord]:
    return [CreditRecord(i, f"P{i}", "cast", order=n) for n, i in enumerate(ids)]


def _crew(*ids_and_weights: tuple[int, int]) -> list[CreditRecord]:
    return [CreditRecord(i, f"P{i}", "crew", job="J", weight=w) for i, w in ids_and_weights]


def _store(catalog: Catalog, tmdb_id: int, *given: CreditRecord) -> int:
    record = MovieRecord(tmdb_id, f"M{tmdb_id}", credits=given)
    return catalog.write(lambda session: store_title(session, record)).id


@on_both_databases
def test_twenty_of_the_cast_in_order_and_twelve_of_the_crew_by_weight(librarian: Librarian) -> None:
    crew = [(200 + n, 100 - n) for n in range(20)]
    movie = _store(librarian.catalog, 1, *_cast(*range(130, 100, -1)), *_crew(*crew))
    cast = set(range(111, 131))
    assert set(wanted_people(librarian.catalog, [movie])) == cast | set(range(208, 220))


def test_who_has_several_parts_counts_once_by_the_most_important(librarian: Librarian) -> None:
    many_jobs = _crew(*((7, weight) for weight in range(50, 70)))
    late_director = _crew(*((300 + n, 80) for n in range(12)), (99, 100), (99, 0))
    movie = _store(librarian.catalog, 1, *many_jobs, *late_director)
    # 7, 99 and ten of the twelve others.
    assert set(wanted_people(librarian.catalog, [movie])) == {7, 99, *range(300, 310)}


def test_cast_without_an_order_comes_last(librarian: Librarian) -> None:
    unordered = [CreditRecord(i, f"P{i}", "cast") for i in range(1, 6)]
    movie = _store(librarian.catalog, 1, *unordered, *_cast(*range(100, 118)))
    assert set(wanted_people(librarian.catalog, [movie])) == {1, 2, *range(100, 118)}


def test_only_of_the_titles_given_and_only_who_is_not_known(librarian: Librarian) -> None:
    first, second = (
        _store(librarian.catalog, 1, *_cast(1, 2)),
        _store(librarian.catalog, 2, *_cast(2, 3)),
    )
    fetch_people(librarian.catalog, librarian.provider, [2])  # there is no such person
    assert wanted_people(librarian.catalog, [first]) == [1]
    assert wanted_people(librarian.catalog, [first, second]) == [1, 3]
    assert wanted_people(librarian.catalog) == []


@on_both_databases
def test_details_are_stored_and_titles_marked(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_person(1, "Full Name", biography="Born.", imdb_id="nm0000001")
    tmdb.catalogue.add_person(2, "Nameless")
    tmdb.catalogue.update("person", 2, name="")
    _store(librarian.catalog, 1, *_cast(1, 2, 3))
    tmdb.catalogue.remove("person", 3)
    report = fetch_people_of_titles(librarian.catalog, librarian.provider)
    person = librarian.one(Person, id=1)
    assert (person.name, person.biography, person.imdb_id) == ("Full Name", "Born.", "nm0000001")
    assert (report.fetched, report.unusable, report.gone) == (1, (2,), (3,))
    assert librarian.one(Person, id=3).name == "P3", "what the credit said stays"
    assert librarian.one(Movie).people_fetched_at is not None
    tmdb.forget()
    assert fetch_people_of_titles(librarian.catalog, librarian.provider).counts()["people"] == 0
    assert tmdb.requests == [], "who is gone is not asked for again and again"


def test_a_refused_token_ends_it_and_keeps_what_was_read(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    ids = list(range(1, 40))
    for person_id in ids:
        tmdb.catalogue.add_person(person_id, f"Person {person_id}")
    _store(librarian.catalog, 1, *_cast(*ids))
    tmdb.fail(Fault("status", 401), "/person/30", times=1)
    with pytest.raises(ProviderRefused):
        fetch_people(librarian.catalog, librarian.provider, ids)
    assert librarian.one(Person, id=1).details_fetched_at is not None


def test_an_interruption_keeps_what_was_read(librarian: Librarian, tmdb: FakeTmdb) -> None:
    for person_id in range(1, 40):
        tmdb.catalogue.add_person(person_id, f"Person {person_id}")
    _store(librarian.catalog, 1, *_cast(*range(1, 40)))

    def interrupt(progress) -> None:
        if progress.counts["people"] == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_people(librarian.catalog, librarian.provider, range(1, 40), on_progress=interrupt)
    with librarian.catalog.reading() as session:
        known = session.query(Person).where(Person.details_fetched_at.is_not(None)).count()
    assert known == 10
