"""Removing: the title goes, files stay, people are named for the cleanup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import MediaFile, Movie
from haas_media.library.add import add_to_library
from haas_media.library.remove import remove_from_library
from haas_media.library.titles import TitleUnknown
from tests.databases import on_both_databases

from .contents import add_file, one, people, rows

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.tmdb import TmdbClient
    from tests.fake_tmdb import FakeTmdb


@pytest.fixture(autouse=True)
def _titles(tmdb: FakeTmdb, catalog: Catalog, provider: TmdbClient) -> None:
    tmdb.catalogue.add_movie(603, "The Matrix", "1999-03-31", cast=[(1, "One", "Neo")])
    tmdb.catalogue.add_movie(604, "Reloaded", "2003-05-15", cast=[(1, "One", "Neo")])
    tmdb.catalogue.add_show(
        1396,
        "Breaking Bad",
        "2008-01-20",
        cast=[(2, "Two", "Walter")],
        crew=[(3, "Three", "Director"), (3, "Three", "Producer")],
        guests={(1, 1): [(4, "Four", "Guest")]},
    )
    for kind, tmdb_id in (("movie", 603), ("movie", 604), ("tv", 1396)):
        add_to_library(catalog, provider, kind, tmdb_id)  # type: ignore[arg-type]


def test_a_movie_goes_with_its_credits(catalog: Catalog) -> None:
    report = remove_from_library(catalog, "movie", 603)
    assert one(catalog, Movie).tmdb_id == 604
    assert (report.title, report.year, report.credits) == ("The Matrix", 1999, 1)
    assert report.person_ids == (1,)


@on_both_databases
def test_a_show_goes_with_seasons_and_episodes_and_names_their_people(catalog: Catalog) -> None:
    report = remove_from_library(catalog, "tv", 1396)
    assert report.person_ids == (2, 3, 4)
    assert (report.seasons, report.episodes, report.credits) == (1, 2, 4)
    assert rows(catalog) == {"movies": 2, "people": 4, "credits": 2}
    assert set(people(catalog)) == {1, 2, 3, 4}, "people are left to the cleanup"


@on_both_databases
def test_its_files_stay_on_record_and_say_why_they_belong_to_nothing(catalog: Catalog) -> None:
    add_file(catalog, "a.mkv", movie=603)
    add_file(catalog, "b.mkv", movie=604)
    add_file(catalog, "trailer.mkv", movie=603, state="extra")
    report = remove_from_library(catalog, "movie", 603)
    assert report.files == 1
    file = one(catalog, MediaFile, path="a.mkv")
    assert (file.state, file.movie_id) == ("unmatched", None)
    assert file.unmatched_reason.startswith("Removed from the library on request (movie 603)")
    assert one(catalog, MediaFile, path="b.mkv").state == "matched"
    assert one(catalog, MediaFile, path="trailer.mkv").state == "extra"


def test_what_is_not_there_is_said(catalog: Catalog) -> None:
    before = rows(catalog)
    for kind, tmdb_id, what in (
        ("movie", 1396, "movie"),
        ("tv", 603, "show"),
        ("movie", 5, "movie"),
    ):
        with pytest.raises(TitleUnknown, match=f"The library has no {what} {tmdb_id}"):
            remove_from_library(catalog, kind, tmdb_id)  # type: ignore[arg-type]
    assert rows(catalog) == before


def test_bad_input_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="kind must be"):
        remove_from_library(catalog, "film", 603)  # type: ignore[arg-type]


def test_the_report(catalog: Catalog) -> None:
    report = remove_from_library(catalog, "tv", 1396)
    assert report.to_json()["person_ids"] == [2, 3, 4]
    assert report.counts() == {
        "removed": 1,
        "seasons": 1,
        "episodes": 2,
        "credits": 4,
        "files": 0,
        "people": 3,
    }
    assert "Removed Breaking Bad (2008), show 1396 with 2 episodes" in report.to_markdown()
