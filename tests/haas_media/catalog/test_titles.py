"""Storing a provider's records: whole, repeatable, and safe for several writers at once."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from haas_media.catalog.models import (
    Episode,
    Library,
    MediaFile,
    Season,
    Show,
    media_file_episodes,
)
from haas_media.catalog.store_titles import link_episodes, store_seasons, store_title
from haas_media.providers.records import (
    CreditRecord,
    EpisodeRecord,
    MovieRecord,
    SeasonRecord,
    ShowRecord,
)
from tests.databases import on_both_databases
from tests.haas_media.scan.scanning import contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog

pytestmark = on_both_databases


def cast(person_id: int, name: str, order: int = 0, **more: Any) -> CreditRecord:
    return CreditRecord(person_id, name, "cast", character="Somebody", order=order, **more)


def crew(person_id: int, name: str, job: str = "Director") -> CreditRecord:
    return CreditRecord(person_id, name, "crew", job=job, department="Directing", weight=0)


MATRIX = MovieRecord(
    603,
    "The Matrix",
    release_date=dt.date(1999, 3, 31),
    overview="A hacker learns.",
    runtime=136,
    imdb_id="tt0133093",
    genres=("Action", "Science Fiction"),
    credits=(cast(6384, "Keanu Reeves"), crew(9339, "Lilly Wachowski"), crew(9340, "Lana")),
)
DARK = ShowRecord(
    70523,
    "Dark",
    first_air_date=dt.date(2017, 12, 1),
    season_numbers=(1, 2),
    credits=(cast(1, "Louis Hofmann"),),
)


def season(number: int, *titles: str, guests: tuple[CreditRecord, ...] = ()) -> SeasonRecord:
    episodes = tuple(
        EpisodeRecord(place, title, credits=guests) for place, title in enumerate(titles, 1)
    )
    return SeasonRecord(number, f"Season {number}", episodes=episodes)


def episodes(catalog: Catalog) -> list[tuple[Any, ...]]:
    """Return season, number and title of each episode."""
    told = select(Season.number, Episode.number, Episode.title).join(Season)
    with catalog.reading() as session:
        return [tuple(row) for row in session.execute(told.order_by(Season.number, Episode.number))]


def test_a_season_that_is_not_given_stays(catalog: Catalog) -> None:
    with catalog.session() as session:
        store_title(session, DARK, [season(1, "Secrets", "Lies")])
    with catalog.session() as session:
        store_title(session, DARK, [season(2, "Beginnings")])
    assert episodes(catalog) == [(1, 1, "Secrets"), (1, 2, "Lies"), (2, 1, "Beginnings")]


def give_file(session: Session, show_id: int, *, season: int, episode: int) -> None:
    session.add(library := Library(title="Shows", kind="tv", path="/shows"))
    session.flush()
    file = MediaFile(library_id=library.id, path="a", size=1, mtime_ns=1, show_id=show_id)
    session.add(file)
    session.flush()
    link_episodes(session, {file.id: [(show_id, season, episode)]})


def test_an_episode_that_is_gone_goes_unless_a_file_holds_it(catalog: Catalog) -> None:
    with catalog.session() as session:
        show = store_title(session, DARK, [season(1, "Secrets", "Lies", "Past")])
        give_file(session, show.id, season=1, episode=3)
        show_id = show.id
    with catalog.session() as session:
        store_seasons(session, show_id, [season(1, "Secrets")])
    assert episodes(catalog) == [(1, 1, "Secrets"), (1, 3, "Past")]


def test_a_season_that_is_named_no_more_goes_unless_a_file_is_of_it(catalog: Catalog) -> None:
    with catalog.session() as session:
        show = store_title(session, DARK, [season(1, "Secrets"), season(2, "Beginnings")])
        give_file(session, show.id, season=2, episode=1)
    for named, left in (((), [1, 2]), ((1, 2), [1, 2]), ((3,), [2]), ((1, 3), [2])):
        with catalog.session() as session:
            store_title(session, replace(DARK, season_numbers=named))
        assert [row[0] for row in episodes(catalog)] == left


@pytest.mark.parametrize("known_already", [False, True])
def test_a_title_known_by_name_becomes_the_one_with_the_id(
    catalog: Catalog, known_already: bool
) -> None:
    with catalog.session() as session:
        if known_already:
            store_title(session, DARK)
        bare = Show(title="dark", match_key="dark|", genres=[], season_numbers=[], requested=True)
        library = Library(title="Shows", kind="tv", path="/shows")
        session.add_all([bare, library])
        session.flush()
        file = MediaFile(library_id=library.id, path="a", size=1, mtime_ns=1, show_id=bare.id)
        session.add(file)
        session.flush()
        link_episodes(session, {file.id: [(bare.id, 1, 1), (bare.id, 1, 2)]})
        bare_id, file_id = bare.id, file.id
    with catalog.session() as session:
        store_title(session, DARK, [season(1, "Secrets", "Lies")], replaces=bare_id)
    with catalog.reading() as session:
        show = session.query(Show).one()
        assert (show.tmdb_id, show.title, show.requested) == (70523, "Dark", True)
        file = session.get_one(MediaFile, file_id)
        assert file.show_id == show.id
        held = select(Episode.title).join(media_file_episodes).order_by(Episode.title)
        assert session.scalars(held).all() == ["Lies", "Secrets"]


def run_at_once(*works: Callable[[], None]) -> list[BaseException]:
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait()
            work()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_writers_of_one_title_at_once_leave_one_title(catalog: Catalog) -> None:
    def work() -> None:
        for _ in range(10):
            with catalog.session() as session:
                store_title(session, MATRIX)

    assert run_at_once(*[work] * 4) == []
    found = contents(catalog)
    assert (len(found["movies"]), len(found["credits"])) == (1, len(MATRIX.credits))


def test_writers_of_titles_with_the_same_people_do_not_wait_in_a_circle(catalog: Catalog) -> None:
    people = [cast(number, f"Person {number}") for number in range(1, 60)]

    def writer(tmdb_id: int, order: list[CreditRecord]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(10):
                with catalog.session() as session:
                    store_title(
                        session,
                        ShowRecord(tmdb_id, f"Show {tmdb_id}", credits=tuple(order[:20])),
                        [season(1, "One", guests=tuple(order[20:]))],
                    )

        return work

    assert run_at_once(writer(1, people), writer(2, people[::-1]), writer(3, people)) == []
    assert len(contents(catalog)["people"]) == len(people)
