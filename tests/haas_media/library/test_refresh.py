"""Refreshing: change lists first, no gap, nothing lost."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from haas_media.catalog import open_catalog
from haas_media.catalog.models import Episode, Movie, Person, Season, Show
from haas_media.library.add import add_to_library
from haas_media.providers.records import ProviderRefused, ProviderUnreachable
from tests.databases import on_both_databases
from tests.fake_tmdb import FakeTmdb, Fault
from tests.haas_media.scan.scanning import contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.catalog.opening import Catalog
    from haas_media.progress import Progress
    from haas_media.providers.tmdb import TmdbClient
    from tests.databases import Databases

    from .contents import Librarian


def today() -> dt.date:
    """Return the date as TMDb has it; a run of all tests may last past midnight."""
    return dt.datetime.now(dt.UTC).date()


@pytest.fixture(autouse=True)
def _titles(tmdb: FakeTmdb) -> None:
    """Four movies and two shows."""
    for person_id in range(1, 8):
        tmdb.catalogue.add_person(person_id, f"Person {person_id}")
    for tmdb_id in (1, 2, 3, 4):
        cast = [(tmdb_id, f"Person {tmdb_id}", "Lead")]
        tmdb.catalogue.add_movie(tmdb_id, f"Movie {tmdb_id}", cast=cast)
    for tmdb_id in (11, 12):
        cast = [(5, "Person 5", "Lead")]
        tmdb.catalogue.add_show(tmdb_id, f"Show {tmdb_id}", seasons={1: ["A"], 2: ["B"]}, cast=cast)


@pytest.fixture(scope="module")
def filled() -> dict[Databases, str]:
    """Addresses of catalogs that hold all that."""
    return {}


@pytest.fixture
def catalog(
    databases: Databases, filled: dict[Databases, str], provider: TmdbClient, tmdb: FakeTmdb
) -> Iterator[Catalog]:
    """A catalog in which everything was read ten days ago."""
    if databases not in filled:
        filled[databases] = databases.migrated()
        with open_catalog(filled[databases]) as opened:
            for tmdb_id in (1, 2, 3, 4):
                add_to_library(opened, provider, "movie", tmdb_id)
            for tmdb_id in (11, 12):
                add_to_library(opened, provider, "tv", tmdb_id)
            age(opened, 10)
        tmdb.forget()
    with open_catalog(databases.copy(filled[databases])) as opened:
        yield opened


def age(catalog: Catalog, days: float, model: Any = None, **values: Any) -> None:
    """Let everything, or one title, have been read that many days ago."""
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    with catalog.session() as session:
        for each in (model,) if model else (Movie, Show):
            times = {"looked_up_at": then, "details_fetched_at": then}
            session.execute(update(each).filter_by(**values).values(**times))
        if model is None:
            session.execute(
                update(Person)
                .where(Person.details_fetched_at.is_not(None))
                .values(details_fetched_at=then)
            )


def _read(tmdb: FakeTmdb) -> list[str]:
    """Return what was asked for beside change lists."""
    return sorted(path for path in tmdb.paths() if not path.endswith("/changes"))


@on_both_databases
def test_only_what_is_in_the_change_lists_is_read(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.update("movie", 2, title="Movie Two")
    tmdb.catalogue.update("tv", 12, name="Show Twelve")
    tmdb.catalogue.update("person", 3, name="Person Three")
    tmdb.catalogue.list_changes("movie", [77, 78, None], today())
    report = librarian.refresh()
    assert librarian.one(Movie, tmdb_id=2).title == "Movie Two"
    assert librarian.one(Show, tmdb_id=12).title == "Show Twelve"
    assert librarian.people()[3] == "Person Three"
    assert _read(tmdb) == [
        "/movie/2",
        "/person/3",
        "/tv/12",
        "/tv/12/season/1",
        "/tv/12/season/2",
    ]
    assert len(tmdb.requests) == report.requests == 8
    assert report.table() == [
        _row("movies", known=4, unchanged=3, refreshed=1),
        _row("shows", known=2, unchanged=1, refreshed=1),
        _row("people", known=5, unchanged=4, refreshed=1),
    ]


def _row(kind: str, **counts: int) -> dict[str, Any]:
    zeros = dict.fromkeys(("gone", "unusable", "unreachable"), 0)
    return {"kind": kind, **counts, **zeros}


def test_a_change_of_any_day_since_the_last_refresh_is_seen(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    began = today()
    for tmdb_id, days in ((1, 10), (2, 5), (3, 0)):
        tmdb.catalogue.update("movie", tmdb_id, began - dt.timedelta(days), title=f"New {tmdb_id}")
    assert librarian.refresh(tv_shows=False, people=False).total("refreshed") == 3
    span = tmdb.requests[0].query
    assert span["start_date"] <= str(began - dt.timedelta(days=10))
    assert span["end_date"] >= str(began)


def test_a_refresh_begins_where_the_last_one_ended(librarian: Librarian, tmdb: FakeTmdb) -> None:
    began = today()
    librarian.refresh(people=False)
    ended = today()
    tmdb.forget()
    librarian.refresh(people=False)
    starts = {seen.query["start_date"] for seen in tmdb.requests}
    assert starts <= {str(day - dt.timedelta(days)) for day in (began, ended) for days in (1, 2)}


def test_what_could_not_be_reached_is_read_by_the_next_refresh(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    old = today() - dt.timedelta(days=9)
    tmdb.catalogue.update("movie", 2, old, title="Movie Two")
    tmdb.catalogue.update("tv", 12, old, name="Show Twelve")
    tmdb.fail(Fault("status", 500), "/movie/2", times=None)
    tmdb.fail(Fault("truncate"), "/tv/12/season/2", times=None)
    report = librarian.refresh()
    assert report.total("unreachable") == 2
    assert librarian.one(Movie, tmdb_id=2).title == "Movie 2"
    assert librarian.one(Show, tmdb_id=12).title == "Show 12", "a title is never half written"
    assert "Show 12 (2000), show 12: TMDb cannot be reached" in report.to_markdown()
    tmdb.up()
    tmdb.forget()
    again = librarian.refresh()
    assert librarian.one(Movie, tmdb_id=2).title == "Movie Two"
    assert librarian.one(Show, tmdb_id=12).title == "Show Twelve"
    assert again.total("refreshed") == 2


def test_a_run_that_ended_half_way_is_carried_on(librarian: Librarian, tmdb: FakeTmdb) -> None:
    for tmdb_id in (1, 2, 3, 4):
        tmdb.catalogue.update("movie", tmdb_id, title=f"New {tmdb_id}")

    def interrupt(progress: Progress) -> None:
        if progress.counts.get("refreshed") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        librarian.refresh(on_progress=interrupt)
    librarian.refresh()
    with librarian.catalog.reading() as session:
        titles = sorted(session.query(Movie.title).all())
    assert [title for (title,) in titles] == ["New 1", "New 2", "New 3", "New 4"]


def test_what_is_gone_is_kept_and_reported_once(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.remove("movie", 1)
    tmdb.catalogue.remove("person", 4)
    tmdb.catalogue.list_changes("movie", [1], today() - dt.timedelta(days=5))
    tmdb.catalogue.list_changes("person", [4], today() - dt.timedelta(days=5))
    report = librarian.refresh()
    assert report.total("gone") == 2
    assert librarian.one(Movie, tmdb_id=1).title == "Movie 1"
    assert librarian.people()[4] == "Person 4"
    assert "Movie 1 (2000), movie 1: TMDb has no movie/1" in report.to_markdown()
    assert librarian.refresh().total("gone") == 0


def test_what_is_unusable_fails_alone(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.update("movie", 1, title=None, original_title="")
    tmdb.catalogue.update("movie", 2, title="Movie Two")
    tmdb.catalogue.update("person", 3, id=9)
    report = librarian.refresh()
    assert (report.total("unusable"), report.total("refreshed")) == (2, 1)
    assert "person 3: TMDb's record of them cannot be used" in report.to_markdown()
    assert librarian.one(Movie, tmdb_id=1).title == "Movie 1"
    assert librarian.refresh().total("known") == 11


def test_everything_is_read_when_it_is_asked_for(librarian: Librarian, tmdb: FakeTmdb) -> None:
    before = librarian.rows(), librarian.credits()
    report = librarian.refresh(changed_only=False)
    assert report.total("refreshed") == 11
    assert not [path for path in tmdb.paths() if path.endswith("changes")]
    assert len(tmdb.requests) == 4 + 2 * 3 + 5
    assert (librarian.rows(), librarian.credits()) == before


@on_both_databases
def test_an_answer_with_a_gap_leaves_what_is_on_record(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    """Else the next cleanup would delete everybody who had a part in it."""
    before = librarian.rows(), librarian.credits()
    gaps: list[Any] = [None, {}, "?", {"success": False, "status_code": 34}]
    gaps.append({"cast": [{"id": "1", "name": "Person 1"}], "crew": [{"id": 2, "name": None}]})
    for number, gap in enumerate(gaps):
        title = f"New {number}"
        tmdb.catalogue.update("movie", 1, title=title, credits=gap)
        tmdb.catalogue.update("tv", 11, name=title, credits=gap, aggregate_credits=gap)
        tmdb.catalogue.seasons[11, 1]["episodes"] = gap
        assert librarian.refresh().total("refreshed") == 2
        assert librarian.one(Movie, tmdb_id=1).title == title
        assert librarian.one(Show, tmdb_id=11).title == title
        assert (librarian.rows(), librarian.credits()) == before


@on_both_databases
def test_what_an_answer_leaves_out_stays_and_what_it_says_is_empty_goes(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    """A proxy, a cache or an error upstream may leave any key out of an otherwise good answer."""
    titles = tmdb.catalogue
    both: Any = {"overview": "All of it.", "poster_path": "/p.jpg"}
    both |= {"genres": [{"id": 18, "name": "Drama"}], "created_by": [{"id": 3, "name": "Person 3"}]}
    cast, crew = [(1, "Person 1", "Lead")], [(2, "Person 2", "Director")]
    titles.add_movie(1, "Movie 1", cast=cast, crew=crew, original_title="Film 1", **both)
    titles.add_show(11, "Show 11", seasons={0: ["S"], 1: ["A", "B"]}, cast=cast, crew=crew, **both)
    titles.seasons[11, 1] |= {"overview": "A year.", "poster_path": "/s.jpg"}
    first = titles.seasons[11, 1]["episodes"][0]
    first |= {"overview": "They meet.", "runtime": 50}
    first["guest_stars"] = [{"id": 4, "name": "Person 4"}]
    first["crew"] = [{"id": 2, "name": "Person 2", "job": "Director"}]
    titles.add_person(1, "Person 1", **dict.fromkeys(("biography", "place_of_birth"), "Somewhere"))
    titles.update("person", 1, birthday="1950-01-01", deathday="2020-01-01", imdb_id="nm0000001")
    titles.update("person", 1, profile_path="/1.jpg", known_for_department="Acting")
    librarian.add("tv", 11)
    librarian.refresh(changed_only=False)
    before = contents(librarian.catalog)

    titles.added["movie", 1] = {"id": 1, "original_title": "Film 1"}
    titles.added["tv", 11] = {"id": 11, "original_name": "Show 11"}
    titles.seasons[11, 1] = {"season_number": 1, "episodes": [{"episode_number": 1}, {"name": "B"}]}
    titles.added["person", 1] = {"id": 1, "name": "Person 1"}
    assert librarian.refresh(changed_only=False).total("unusable") == 0
    assert contents(librarian.catalog) == before

    gone: Any = {"overview": None, "genres": [], "credits": {"cast": []}}
    titles.update("movie", 1, **gone)
    titles.seasons[11, 1]["episodes"] = [{"episode_number": 1, "overview": " ", "crew": []}]
    librarian.refresh(changed_only=False)
    movie, episode = librarian.one(Movie, tmdb_id=1), librarian.one(Episode, title="A", runtime=50)
    assert (movie.overview, movie.genres, movie.poster_path) == (None, [], "/p.jpg")
    assert (episode.overview, episode.runtime) == (None, 50)
    after = contents(librarian.catalog)
    fewer = {name: len(before[name]) - len(after[name]) for name in ("credits", "episodes")}
    assert fewer == {"credits": 2, "episodes": 1}


def test_a_list_longer_than_reading_everything_is_not_read(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    tmdb.catalogue.list_changes("movie", range(1000, 1500), today())
    report = librarian.refresh(tv_shows=False, people=False)
    assert tmdb.paths()[0] == "/movie/changes"
    assert sorted(tmdb.paths()[1:]) == [f"/movie/{n}" for n in (1, 2, 3, 4)]
    assert "longer than reading everything" in report.to_markdown()


def test_a_list_of_changes_that_is_refused_leaves_everything_to_be_read(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    """A proxy may know records only."""
    for status in (404, 422):
        tmdb.fail(Fault("status", status), "/tv/changes")
        report = librarian.refresh()
        _, shows, people_of_them = report.kinds
        assert (shows.known, shows.refreshed) == (2, 2)
        assert people_of_them.unchanged == 5
        assert "The list of changes cannot be had" in report.to_markdown()


@pytest.mark.parametrize(
    "odd", [{}, {"results": None, "total_pages": 1}, {"results": [], "total_pages": None}]
)
def test_what_is_no_list_of_changes_leaves_everything_to_be_read(
    librarian: Librarian, tmdb: FakeTmdb, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    """Else all would pass for current, and what has changed would never be read."""
    tmdb.catalogue.update("movie", 1, title="New")
    monkeypatch.setattr(tmdb, "_changes", lambda *_: (200, odd))
    report = librarian.refresh(tv_shows=False, people=False)
    assert librarian.one(Movie, tmdb_id=1).title == "New"
    assert "list of changes cannot be had, so everything was read" in report.to_markdown()


def test_titles_nobody_has_read_or_long_ago_are_read_whatever_the_lists_say(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    age(librarian.catalog, 100, Movie, tmdb_id=1)
    with librarian.catalog.session() as session:
        session.add(Movie(tmdb_id=99, title="known by a tag", match_key="tag|"))
    tmdb.catalogue.add_movie(99, "Tagged")
    librarian.refresh(tv_shows=False, people=False)
    assert _read(tmdb) == ["/movie/1", "/movie/99"]
    assert librarian.one(Movie, tmdb_id=99).title == "Tagged"
    start = dt.date.fromisoformat(tmdb.requests[0].query["start_date"])
    assert start >= today() - dt.timedelta(days=12), "one old title does not make the list longer"


def test_a_new_season_is_read_of_a_show_that_is_there_as_a_whole(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    # Of show 12 the catalog has what its files needed: one season.
    with librarian.catalog.session() as session:
        show = session.query(Show).filter_by(tmdb_id=12).one()
        session.query(Season).filter_by(show_id=show.id, number=2).delete()
    for tmdb_id in (11, 12):
        tmdb.catalogue.add_show(
            tmdb_id, f"Show {tmdb_id}", seasons={1: ["A"], 2: ["B"], 3: ["C", "D"]}
        )
        tmdb.catalogue.list_changes("tv", [tmdb_id], today())
    librarian.refresh(movies=False, people=False)
    assert librarian.seasons(11) == [1, 2, 3]
    assert librarian.seasons(12) == [1]


@pytest.mark.parametrize("before", [[], [1, 2]])
def test_a_new_season_that_comes_later_than_its_name_is_read_then(
    librarian: Librarian, tmdb: FakeTmdb, before: list[int]
) -> None:
    new = len(before) + 1
    names = {number: ["A"] for number in (*before, new)}
    tmdb.catalogue.add_show(13, "Show 13", seasons=names)
    season = tmdb.catalogue.seasons.pop((13, new))
    librarian.add("tv", 13)
    tmdb.catalogue.list_changes("tv", [13], today())
    librarian.refresh(movies=False, people=False)
    assert librarian.seasons(13) == before
    tmdb.catalogue.seasons[13, new] = season
    librarian.refresh(movies=False, people=False)
    assert librarian.seasons(13) == [*before, new]


def test_a_season_that_is_named_but_not_there_stays(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.list_changes("tv", [11], today())
    del tmdb.catalogue.seasons[11, 2]
    librarian.refresh(movies=False, people=False)
    assert librarian.seasons(11) == [1, 2]


@pytest.mark.parametrize("gap", [None, "?", [None]])
@on_both_databases
def test_a_gap_for_the_seasons_leaves_those_on_record(
    librarian: Librarian, tmdb: FakeTmdb, gap: Any
) -> None:
    tmdb.catalogue.update("tv", 11, seasons=gap)
    tmdb.catalogue.seasons[11, 1]["episodes"][0]["name"] = "Renamed"
    librarian.refresh(movies=False, people=False)
    assert librarian.one(Show, tmdb_id=11).season_numbers == [1, 2]
    assert librarian.one(Episode, title="Renamed").number == 1


def test_details_of_new_people_are_read(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(2, "Movie 2", cast=[(7, "Person 7", "New lead")])
    tmdb.catalogue.list_changes("movie", [2], today())
    tmdb.fail(Fault("status", 500), "/person/7", times=7)
    assert "- person 7" in librarian.refresh().to_markdown()
    report = librarian.refresh()
    assert report.people_added.fetched == 1
    assert librarian.one(Person, id=7).details_fetched_at is not None
    assert librarian.one(Movie, tmdb_id=2).people_fetched_at is not None


def test_a_title_that_is_removed_meanwhile_does_not_come_back(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    tmdb.catalogue.update("movie", 2, title="Movie Two")
    answer = tmdb.answer

    def remove_then_answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/3/movie/2":
            librarian.remove("movie", 2)
        return answer(path, query)

    tmdb.answer = remove_then_answer  # type: ignore[method-assign]
    report = librarian.refresh()
    assert report.kinds[0].refreshed == 0
    with librarian.catalog.reading() as session:
        assert session.query(Movie).filter_by(tmdb_id=2).count() == 0


def test_what_a_clock_that_was_ahead_has_marked_is_read(
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    age(librarian.catalog, -400, Movie, tmdb_id=2)
    tmdb.catalogue.update("movie", 2, today() - dt.timedelta(days=60), title="Movie Two")
    librarian.refresh(tv_shows=False, people=False)
    assert _read(tmdb) == ["/movie/2"]
    assert librarian.one(Movie, tmdb_id=2).title == "Movie Two"
    tmdb.forget()
    librarian.refresh(tv_shows=False, people=False)
    assert _read(tmdb) == []


def test_it_fails_when_not_even_a_list_can_be_read(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.update("movie", 2, today() - dt.timedelta(days=8), title="Movie Two")
    tmdb.down(Fault("reset"))
    with pytest.raises(ProviderUnreachable, match="the next refresh does the rest"):
        librarian.refresh()
    tmdb.up()
    librarian.refresh()
    assert librarian.one(Movie, tmdb_id=2).title == "Movie Two"


def test_a_refused_token_fails_it_at_once(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.list_changes("movie", [1, 2, 3], today())
    tmdb.fail(Fault("status", 401), "/movie/[0-9]", times=None)
    with pytest.raises(ProviderRefused, match="HAAS_TMDB_TOKEN"):
        librarian.refresh()


def test_parts_can_be_chosen(librarian: Librarian, tmdb: FakeTmdb) -> None:
    librarian.refresh(movies=False, people=False)
    assert tmdb.paths() == ["/tv/changes"]


def test_progress_and_report(librarian: Librarian) -> None:
    told: list[Progress] = []
    report = librarian.refresh(changed_only=False, on_progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert {progress.phase for progress in told} == {"movies", "shows", "people", "done"}
    assert report.counts()["movies"] == 4
    assert report.to_json()["kinds"][1]["refreshed"] == 2
    assert "Refreshed 4 of 4 movies, 2 of 2 shows, 5 of 5 people" in report.to_markdown()


def test_an_empty_catalog_asks_nothing(librarian: Librarian, tmdb: FakeTmdb) -> None:
    with librarian.catalog.session() as session:
        for model in (Movie, Show):
            session.query(model).delete()
        session.query(Person).delete()
    assert librarian.refresh().requests == 0
    assert tmdb.requests == []
