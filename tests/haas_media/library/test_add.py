"""Adding: everything of a title, again and again the same, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import Episode, Folder, MediaFile, Movie, Person, Show
from haas_media.library import TitleUnknown
from haas_media.providers.records import ProviderRefused, ProviderUnreachable, UnusableRecord
from tests.databases import on_both_databases
from tests.fake_tmdb import FakeTmdb, Fault

if TYPE_CHECKING:
    from haas_media.progress import Progress

    from .contents import Librarian


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
    librarian: Librarian, tmdb: FakeTmdb
) -> None:
    report = librarian.add("movie", 603)
    movie = librarian.one(Movie)
    assert (movie.tmdb_id, movie.title, movie.year) == (603, "The Matrix", 1999)
    assert librarian.credits() == {
        (6384, "cast", "Neo"),
        (2975, "cast", "Morpheus"),
        (9340, "crew", "Director"),
    }
    assert str(librarian.one(Person, id=6384).birthday) == "1964-09-02"
    assert movie.people_fetched_at is not None
    assert (report.new, report.credits, report.people.fetched, report.requests) == (True, 3, 3, 4)
    assert tmdb.paths()[0] == "/movie/603"


@on_both_databases
def test_a_show_with_all_its_seasons_and_episodes(librarian: Librarian, tmdb: FakeTmdb) -> None:
    report = librarian.add("tv", 1396)
    assert librarian.seasons(1396) == [0, 1, 2]
    assert librarian.one(Episode, title="Cat's in the Bag").number == 2
    assert (report.seasons, report.episodes) == (3, 4)
    assert (999, "cast", "Stranger") in librarian.credits()
    assert tmdb.paths()[:4] == ["/tv/1396", *(f"/tv/1396/season/{n}" for n in (0, 1, 2))]
    assert "/person/999" not in tmdb.paths(), "details of an episode's guests are not read"


@on_both_databases
@pytest.mark.parametrize(("kind", "tmdb_id"), [("movie", 603), ("tv", 1396)])
def test_adding_again_changes_nothing(librarian: Librarian, kind, tmdb_id: int) -> None:
    librarian.add(kind, tmdb_id)
    before = librarian.rows(), librarian.people(), librarian.credits()
    again = librarian.add(kind, tmdb_id)
    assert (librarian.rows(), librarian.people(), librarian.credits()) == before
    assert not again.new
    assert again.people.fetched == 0, "details that are known are not read again"
    assert "Renewed" in again.summary()


def test_adding_again_takes_over_what_changed(librarian: Librarian, tmdb: FakeTmdb) -> None:
    librarian.add("movie", 603)
    tmdb.catalogue.add_movie(603, "Matrix", "1999-03-31", cast=[(6384, "Keanu", "Mr. A")])
    librarian.add("movie", 603)
    assert librarian.one(Movie).title == "Matrix"
    assert librarian.credits() == {(6384, "cast", "Mr. A")}
    assert librarian.people() == {
        6384: "Keanu",
        2975: "Laurence Fishburne",
        9340: "Lana Wachowski",
    }, "who has no part any more is left to the cleanup"
    assert str(librarian.one(Person, id=6384).birthday) == "1964-09-02"


def test_an_unknown_id_fails_clearly_and_leaves_nothing_behind(librarian: Librarian) -> None:
    with pytest.raises(TitleUnknown, match=r"TMDb has no movie 424242. Look it up"):
        librarian.add("movie", 424242)
    with pytest.raises(TitleUnknown, match=r"TMDb has no show 424242. Look it up"):
        librarian.add("tv", 424242)
    assert librarian.rows() == {}


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
    librarian: Librarian, tmdb: FakeTmdb, fault: Fault, error: type[Exception]
) -> None:
    tmdb.fail(fault, "/season/2", times=None)
    with pytest.raises(error) as caught:
        librarian.add("tv", 1396)
    again = "Nothing was added. If no further attempt follows, add it again once TMDb answers."
    assert str(caught.value).endswith(again) == (error is ProviderUnreachable)
    assert librarian.rows() == {}


def test_a_season_that_is_gone_is_left_out(librarian: Librarian, tmdb: FakeTmdb) -> None:
    del tmdb.catalogue.seasons[1396, 0]
    report = librarian.add("tv", 1396)
    assert report.seasons == 2
    assert librarian.one(Show).season_numbers == [1, 2], "once it is there, it is a new one"


def test_people_who_cannot_be_reached_are_read_later(librarian: Librarian, tmdb: FakeTmdb) -> None:
    tmdb.fail(Fault("status", 500), "/person/2975", times=None)
    report = librarian.add("movie", 603)
    assert report.people.unreachable == (2975,)
    assert librarian.one(Movie).people_fetched_at is None
    assert librarian.people()[2975] == "Laurence Fishburne", "the name is known from the credit"
    tmdb.up()
    assert librarian.add("movie", 603).people.fetched == 1


@on_both_databases
def test_files_of_a_removed_title_wait_for_the_next_scan(librarian: Librarian) -> None:
    librarian.add("movie", 603)
    with librarian.catalog.session() as session:
        folder = Folder(library_id=1, path="The Matrix", signature="s", nfo_signature="n")
    librarian.add_file("The Matrix/a.mkv", movie=603)
    with librarian.catalog.session() as session:
        folder.library_id = session.query(MediaFile).one().library_id
        session.add(folder)
        session.flush()
        session.query(MediaFile).one().folder_id = folder.id
    librarian.remove("movie", 603)
    assert librarian.add("movie", 603).files == 1
    file = librarian.one(MediaFile)
    assert (file.state, file.unmatched_reason) == ("pending", None)
    assert librarian.one(Folder).recheck, "so that the next scan looks at its files"


def test_progress_never_goes_back_and_ends_at_one(librarian: Librarian) -> None:
    told: list[Progress] = []
    librarian.add("tv", 1396, on_progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "Breaking Bad, season 1" in [progress.current for progress in told]
