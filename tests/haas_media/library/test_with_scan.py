"""What a person asked for stays, whatever the next scans find."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from haas_media import reasons
from haas_media.catalog.models import MediaFile, Movie
from haas_media.scan import scan
from haas_media.settings import Library, ScanSettings, Settings
from tests.databases import on_both_databases

from .contents import Librarian

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.tmdb import TmdbClient
    from haas_media.scan import ScanReport
    from tests.fake_tmdb import FakeTmdb


@dataclass
class Films(Librarian):
    """A library on disk, of two films that TMDb knows."""

    root: Path

    @property
    def file(self) -> Path:
        return self.root / "The Matrix (1999)" / "The Matrix (1999).mkv"

    def scan(self) -> ScanReport:
        library = Library(title="Films", kind="movies", path=self.root)
        settings = Settings(libraries=(library,), scan=ScanSettings(probe=False))
        return scan(settings, self.catalog, provider=self.provider)

    def titles(self) -> set[int | None]:
        with self.catalog.reading() as session:
            return {row.tmdb_id for row in session.query(Movie.tmdb_id)}


@pytest.fixture
def films(tmp_path: Path, tmdb: FakeTmdb, catalog: Catalog, provider: TmdbClient) -> Films:
    tmdb.catalogue.add_movie(603, "The Matrix", "1999-03-31", cast=[(7, "Keanu Reeves", "Neo")])
    tmdb.catalogue.add_person(7, "Keanu Reeves")
    tmdb.catalogue.add_movie(604, "The Matrix Reloaded", "2003-05-15")
    films = Films(catalog, provider, tmp_path / "films")
    films.file.parent.mkdir(parents=True)
    films.file.write_bytes(b"a film")
    (films.root / "The Matrix Reloaded (2003).mkv").write_bytes(b"another film")
    return films


@on_both_databases
def test_a_removed_title_does_not_come_back_by_the_next_scan(films: Films) -> None:
    assert films.scan().total("matched") == 2
    removed = films.remove("movie", 603)
    assert removed.files == 1
    films.cleanup(removed.person_ids)
    assert 7 not in films.people()
    for _ in range(2):
        report = films.scan()
        assert (report.total("matched"), report.total("unmatched")) == (1, 1)
        assert films.titles() == {604}
    (unmatched,) = report.libraries[0].unmatched_files
    assert "Removed from the library on request" in unmatched.reason


@on_both_databases
def test_it_comes_back_with_its_files_wherever_its_addition_is_cut_off(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.scan()
    films.remove("movie", 603)
    write, written = films.catalog.write, []

    def cut_off(work: Any) -> Any:
        if written:
            raise KeyboardInterrupt
        written.append(write(work))
        return written[0]

    monkeypatch.setattr(films.catalog, "write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        films.add("movie", 603)
    monkeypatch.undo()
    assert films.scan().total("matched") == 2
    assert films.titles() == {603, 604}


def test_it_comes_back_when_its_file_changes(films: Films) -> None:
    films.scan()
    films.remove("movie", 603)
    films.file.write_bytes(b"a better copy of the film")
    os.utime(films.file, ns=(10**18, 10**18))
    assert films.scan().total("matched") == 2
    assert films.titles() == {603, 604}


def test_a_title_added_without_files_survives_scans(films: Films, tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(27205, "Inception", "2010-07-15")
    films.add("movie", 27205)
    films.scan()
    assert films.titles() == {603, 604, 27205}


@on_both_databases
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_removed_title_does_not_come_back_when_its_file_was_away_for_a_scan(
    films: Films, elsewhere: bool
) -> None:
    films.scan()
    films.remove("movie", 603)
    away = films.root.with_name("away.mkv")
    films.file.rename(away)
    report = films.scan()
    assert (report.total("removed"), report.total("unmatched")) == (0, 0)
    assert films.scan().total("removed") == 0
    back = films.root / "Found (1999).mkv" if elsewhere else films.file
    away.rename(back)
    report = films.scan()
    assert (report.total("matched"), report.total("unmatched")) == (1, 1)
    assert films.titles() == {604}
    assert films.scan().total("parsed") == 0
    assert films.add("movie", 603).files == 1
    assert films.scan().total("matched") == (1 if elsewhere else 2)


def test_a_removed_title_is_known_by_its_code_whatever_the_words_are(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.scan()
    films.remove("movie", 603)
    monkeypatch.setitem(reasons.SENTENCES, "removed-on-request", "Somebody took {title} away.")
    (unmatched,) = films.scan().libraries[0].unmatched_files
    assert unmatched.reason == "Somebody took movie 603 away."
    assert films.add("movie", 603).files == 1


def test_what_another_version_has_kept_of_a_file_does_no_harm(films: Films) -> None:
    films.scan()
    with films.catalog.session() as session:
        for file in session.query(MediaFile):
            file.identity = {**(file.identity or {}), "unheard": {"of": 1}}
        file.state, file.movie_id = "unmatched", None
        file.reason_code, file.reason_args = "unheard-of", {"by": "us"}
    (unmatched,) = films.scan().libraries[0].unmatched_files
    assert unmatched.reason == "unheard-of by=us"
    films.file.rename(films.root / "The Matrix.mkv")
    assert films.scan().total("moved") == 1
