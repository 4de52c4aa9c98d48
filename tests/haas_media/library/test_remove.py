"""Removing: the title goes, files stay, people are named for the cleanup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import MediaFile, Movie
from haas_media.library import TitleUnknown
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from tests.fake_tmdb import FakeTmdb

    from .contents import Librarian


@pytest.fixture(autouse=True)
def _titles(tmdb: FakeTmdb, librarian: Librarian) -> None:
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
        librarian.add(kind, tmdb_id)


def test_a_movie_goes_with_its_credits(librarian: Librarian) -> None:
    report = librarian.remove("movie", 603)
    assert librarian.one(Movie).tmdb_id == 604
    assert (report.title, report.year, report.credits) == ("The Matrix", 1999, 1)
    assert report.person_ids == (1,)


@on_both_databases
def test_a_show_goes_with_seasons_and_episodes_and_names_their_people(librarian: Librarian) -> None:
    report = librarian.remove("tv", 1396)
    assert report.person_ids == (2, 3, 4)
    assert (report.seasons, report.episodes, report.credits) == (1, 2, 4)
    assert librarian.rows() == {"movies": 2, "people": 4, "credits": 2}
    assert set(librarian.people()) == {1, 2, 3, 4}, "people are left to the cleanup"


@on_both_databases
def test_its_files_stay_on_record_and_say_why_they_belong_to_nothing(librarian: Librarian) -> None:
    librarian.add_file("a.mkv", movie=603)
    librarian.add_file("b.mkv", movie=604)
    librarian.add_file("trailer.mkv", movie=603, state="extra")
    report = librarian.remove("movie", 603)
    assert report.files == 1
    file = librarian.one(MediaFile, path="a.mkv")
    assert (file.state, file.movie_id) == ("unmatched", None)
    assert file.unmatched_reason.startswith("Removed from the library on request (movie 603)")
    assert librarian.one(MediaFile, path="b.mkv").state == "matched"
    assert librarian.one(MediaFile, path="trailer.mkv").state == "extra"


def test_what_is_not_there_is_said(librarian: Librarian) -> None:
    before = librarian.rows()
    for kind, tmdb_id in (("movie", 1396), ("tv", 603), ("movie", 5)):
        with pytest.raises(TitleUnknown, match=rf"The library has no (movie|show) {tmdb_id}"):
            librarian.remove(kind, tmdb_id)
    assert librarian.rows() == before
