"""Adding: everything of a title, again and again the same, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from haas_media.catalog.models import Episode, Folder, MediaFile, Movie, Person, Show
from haas_media.library.add import add_to_library
from haas_media.library.remove import remove_from_library
from haas_media.library.titles import TitleUnknown
from haas_media.providers import ProviderRefused, ProviderUnreachable, UnusableRecord
from tests.databases import on_both_databases
from tests.fake_tmdb import FakeTmdb, Fault

from .contents import add_file, credits_of, one, people, rows, seasons

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.progress import Progress
    from haas_media.tmdb import TmdbClient


@pytest.fixture(autouse=True)
def _titles(tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(
        603,
        "The Matrix",
        "1999-03-31",
        cast=[(6384, "Keanu Reeves", "Neo"), (2975, "Laurence Fishburne", "Morpheus")],
        crew=[(9340, "Lana Wachowski", "Director")],
    )
    tmdb.catalogue.add_person(6384, "Keanu Reeves", birthday="1964-09-02")
    tmdb.catalogue.add_show(
        1396,
        "Breaking Bad",
        "2008-01-20",
        seasons={0: ["Minisode"], 1: ["Pilot", "Cat's in the Bag"], 2: ["Seven Thirty-Seven"]},
        cast=[(17419, "Bryan Cranston", "Walter White")],
        guests={(1, 2): [(999, "A Guest", "Stranger")]},
    )
    for person_id, name in (
        (2975, "Laurence Fishburne"),
        (9340, "Lana Wachowski"),
        (17419, "Bryan Cranston"),
    ):
        tmdb.catalogue.add_person(person_id, name)


@on_both_databases
def test_a_movie_with_its_credits_and_details_of_people(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    report = add_to_library(catalog, provider, "movie", 603)
    movie = one(catalog, Movie)
    assert (movie.tmdb_id, movie.title, movie.year) == (603, "The Matrix", 1999)
    assert credits_of(catalog) == {
        (6384, "cast", "Neo"),
        (2975, "cast", "Morpheus"),
        (9340, "crew", "Director"),
    }
    assert str(one(catalog, Person, id=6384).birthday) == "1964-09-02"
    assert movie.people_fetched_at is not None
    assert (report.new, report.credits, report.people.fetched, report.requests) == (True, 3, 3, 4)
    assert tmdb.paths()[0] == "/movie/603"


@on_both_databases
def test_a_show_with_all_its_seasons_and_episodes(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    report = add_to_library(catalog, provider, "tv", 1396)
    assert seasons(catalog, 1396) == [0, 1, 2]
    assert one(catalog, Episode, title="Cat's in the Bag").number == 2
    assert (report.seasons, report.episodes) == (3, 4)
    assert (999, "cast", "Stranger") in credits_of(catalog)
    assert tmdb.paths()[:4] == ["/tv/1396", *(f"/tv/1396/season/{n}" for n in (0, 1, 2))]
    assert "/person/999" not in tmdb.paths(), "details of an episode's guests are not read"


@pytest.mark.parametrize(("kind", "tmdb_id"), [("movie", 603), ("tv", 1396)])
def test_adding_again_changes_nothing(
    catalog: Catalog, provider: TmdbClient, kind, tmdb_id: int
) -> None:
    add_to_library(catalog, provider, kind, tmdb_id)
    before = rows(catalog), people(catalog), credits_of(catalog)
    again = add_to_library(catalog, provider, kind, tmdb_id)
    assert (rows(catalog), people(catalog), credits_of(catalog)) == before
    assert not again.new
    assert again.people.fetched == 0, "details that are known are not read again"
    assert "Renewed" in again.summary()


def test_adding_again_takes_over_what_changed(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    add_to_library(catalog, provider, "movie", 603)
    tmdb.catalogue.add_movie(603, "Matrix", "1999-03-31", cast=[(6384, "Keanu Reeves", "Mr. A")])
    add_to_library(catalog, provider, "movie", 603)
    assert one(catalog, Movie).title == "Matrix"
    assert credits_of(catalog) == {(6384, "cast", "Mr. A")}


def test_an_unknown_id_fails_clearly_and_leaves_nothing_behind(
    catalog: Catalog, provider: TmdbClient
) -> None:
    with pytest.raises(TitleUnknown, match=r"TMDb has no movie 424242. Look it up"):
        add_to_library(catalog, provider, "movie", 424242)
    with pytest.raises(TitleUnknown, match=r"TMDb has no show 424242. Look it up"):
        add_to_library(catalog, provider, "tv", 424242)
    assert rows(catalog) == {}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", 500), ProviderUnreachable),
        (Fault("truncate"), ProviderUnreachable),
        (Fault("status", 401), ProviderRefused),
        (Fault("status", 422), UnusableRecord),
    ],
)
def test_a_season_that_cannot_be_read_leaves_nothing_behind(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb, fault: Fault, error: type[Exception]
) -> None:
    tmdb.fail(fault, "/season/2", times=None)
    with pytest.raises(error) as caught:
        add_to_library(catalog, provider, "tv", 1396)
    again = "Nothing was added. If no further attempt follows, add it again once TMDb answers."
    assert str(caught.value).endswith(again) == (error is ProviderUnreachable)
    assert rows(catalog) == {}


def test_a_season_that_is_gone_is_left_out(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    del tmdb.catalogue.seasons[1396, 0]
    report = add_to_library(catalog, provider, "tv", 1396)
    assert report.seasons == 2
    assert one(catalog, Show).season_numbers == [0, 1, 2]


def test_people_who_cannot_be_reached_are_read_later(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    tmdb.fail(Fault("status", 500), "/person/2975", times=None)
    report = add_to_library(catalog, provider, "movie", 603)
    assert report.people.unreachable == (2975,)
    assert one(catalog, Movie).people_fetched_at is None
    assert people(catalog)[2975] == "Laurence Fishburne", "the name is known from the credit"
    tmdb.up()
    assert add_to_library(catalog, provider, "movie", 603).people.fetched == 1


@on_both_databases
def test_files_of_a_removed_title_wait_for_the_next_scan(
    catalog: Catalog, provider: TmdbClient
) -> None:
    add_to_library(catalog, provider, "movie", 603)
    with catalog.session() as session:
        folder = Folder(library_id=1, path="The Matrix", signature="s", nfo_signature="n")
    add_file(catalog, "The Matrix/a.mkv", movie=603)
    with catalog.session() as session:
        folder.library_id = session.query(MediaFile).one().library_id
        session.add(folder)
        session.flush()
        session.query(MediaFile).one().folder_id = folder.id
    remove_from_library(catalog, "movie", 603)
    assert add_to_library(catalog, provider, "movie", 603).files == 1
    file = one(catalog, MediaFile)
    assert (file.state, file.unmatched_reason) == ("pending", None)
    assert one(catalog, Folder).signature == "", "so that the next scan looks at its files"


def test_bad_input_is_refused_before_anything_is_asked(
    catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    bad: tuple[tuple[Any, Any, str], ...] = (
        ("film", 1, "kind must be"),
        ("movie", 0, "from 1 to"),
        ("movie", -603, "from 1 to"),
        ("tv", 2**31, "from 1 to"),
        ("tv", "1396", "must be a number"),
        ("tv", True, "must be a number"),
    )
    for kind, tmdb_id, message in bad:
        with pytest.raises(ValueError, match=message):
            add_to_library(catalog, provider, kind, tmdb_id)
    assert tmdb.requests == []


def test_progress_never_goes_back_and_ends_at_one(catalog: Catalog, provider: TmdbClient) -> None:
    told: list[Progress] = []
    add_to_library(catalog, provider, "tv", 1396, on_progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "Breaking Bad, season 1" in [progress.current for progress in told]


def test_the_report(catalog: Catalog, provider: TmdbClient) -> None:
    report = add_to_library(catalog, provider, "tv", 1396)
    assert report.to_json()["episodes"] == 4
    assert report.counts()["people"] == 1
    assert report.table()[0]["title"] == "Breaking Bad (2008)"
    assert "Added Breaking Bad (2008), show 1396, 3 seasons, 4 episodes" in report.to_markdown()
    assert report.to_markdown().count("|\n") == 3
