"""What a person asked for stays, whatever the next scans find."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import Movie
from haas_media.library.add import add_to_library
from haas_media.library.cleanup import cleanup_people
from haas_media.library.remove import remove_from_library
from haas_media.scan import scan
from haas_media.settings import Library, ScanSettings, Settings
from tests.databases import on_both_databases

from .contents import people, rows

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.catalog.opening import Catalog
    from haas_media.scan import ScanReport
    from haas_media.tmdb import TmdbClient
    from tests.fake_tmdb import FakeTmdb


@pytest.fixture
def film(tmp_path: Path, tmdb: FakeTmdb) -> Path:
    tmdb.catalogue.add_movie(603, "The Matrix", "1999-03-31", cast=[(7, "Keanu Reeves", "Neo")])
    tmdb.catalogue.add_person(7, "Keanu Reeves")
    tmdb.catalogue.add_movie(604, "The Matrix Reloaded", "2003-05-15")
    folder = tmp_path / "films" / "The Matrix (1999)"
    folder.mkdir(parents=True)
    file = folder / "The Matrix (1999).mkv"
    file.write_bytes(b"a film")
    other = tmp_path / "films" / "The Matrix Reloaded (2003).mkv"
    other.write_bytes(b"another film")
    return file


def _scan(film: Path, catalog: Catalog, provider: TmdbClient) -> ScanReport:
    library = Library(title="Films", kind="movies", path=film.parent.parent)
    settings = Settings(
        libraries=(library,), data_dir=film.parents[2], scan=ScanSettings(probe=False)
    )
    return scan(settings, catalog, provider=provider)


def _counted(catalog: Catalog) -> dict[str, int]:
    found = rows(catalog)
    return {name: found[name] for name in ("movies", "media_files", "folders", "people", "credits")}


def _titles(catalog: Catalog) -> set[int | None]:
    with catalog.reading() as session:
        return {row.tmdb_id for row in session.query(Movie.tmdb_id)}


@on_both_databases
def test_a_removed_title_does_not_come_back_by_the_next_scan(
    film: Path, catalog: Catalog, provider: TmdbClient
) -> None:
    assert _scan(film, catalog, provider).total("matched") == 2
    removed = remove_from_library(catalog, "movie", 603)
    assert removed.files == 1
    cleanup_people(catalog, removed.person_ids)
    assert 7 not in people(catalog)
    for _ in range(2):
        report = _scan(film, catalog, provider)
        assert (report.total("matched"), report.total("unmatched")) == (1, 1)
        assert _titles(catalog) == {604}
    (unmatched,) = report.libraries[0].unmatched_files
    assert "Removed from the library on request" in unmatched.reason


def test_it_comes_back_when_it_is_added_again(
    film: Path, catalog: Catalog, provider: TmdbClient
) -> None:
    _scan(film, catalog, provider)
    before = _counted(catalog)
    remove_from_library(catalog, "movie", 603)
    assert add_to_library(catalog, provider, "movie", 603).files == 1
    assert _scan(film, catalog, provider).total("matched") == 2
    assert _counted(catalog) == before


def test_it_comes_back_when_its_file_changes(
    film: Path, catalog: Catalog, provider: TmdbClient
) -> None:
    _scan(film, catalog, provider)
    remove_from_library(catalog, "movie", 603)
    film.write_bytes(b"a better copy of the film")
    os.utime(film, ns=(10**18, 10**18))
    assert _scan(film, catalog, provider).total("matched") == 2
    assert _titles(catalog) == {603, 604}


def test_a_title_added_without_files_survives_scans(
    film: Path, catalog: Catalog, provider: TmdbClient, tmdb: FakeTmdb
) -> None:
    tmdb.catalogue.add_movie(27205, "Inception", "2010-07-15")
    add_to_library(catalog, provider, "movie", 27205)
    _scan(film, catalog, provider)
    assert _titles(catalog) == {603, 604, 27205}
