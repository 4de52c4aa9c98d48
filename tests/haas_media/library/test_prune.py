"""Pruning reports first, removes when asked, and never what only cannot be seen now."""

from __future__ import annotations

import datetime as dt
import shutil
from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import Folder, MediaFile, Movie
from haas_media.catalog.models import Library as Row
from haas_media.library.add import add_to_library
from haas_media.library.prune import PruneError, prune
from haas_media.scan import scan
from haas_media.settings import Library, ScanSettings, Settings
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.catalog.opening import Catalog
    from haas_media.library.prune import PruneReport
    from haas_media.providers.tmdb import TmdbClient
    from tests.fake_tmdb import FakeTmdb

    from .contents import Librarian


class Shelves:
    """Two libraries of films, scanned."""

    def __init__(self, base: Path, catalog: Catalog, provider: TmdbClient) -> None:
        self.catalog, self.provider = catalog, provider
        self.libraries = [
            Library(title=title, kind="movies", path=base / title) for title in ("old", "new")
        ]
        for library in self.libraries:
            library.path.mkdir()
        (base / "old" / "Heat (1995).mkv").write_bytes(b"heat")
        (base / "new" / "Ran (1985).mkv").write_bytes(b"ran")
        self.scan()

    def scan(self) -> None:
        settings = Settings(libraries=tuple(self.libraries), scan=ScanSettings(probe=False))
        scan(settings, self.catalog, provider=self.provider)

    def prune(self, **options: object) -> PruneReport:
        return prune(self.catalog, self.libraries, **options)  # type: ignore[arg-type]

    def holds(self) -> tuple[list[str], list[str], list[str]]:
        with self.catalog.reading() as session:
            found = (
                session.scalars(query)
                for query in (
                    session.query(Row.title).order_by(Row.title).statement,
                    session.query(MediaFile.path).order_by(MediaFile.path).statement,
                    session.query(Movie.title).order_by(Movie.title).statement,
                )
            )
            titles, files, movies = (list(each) for each in found)
        return titles, files, movies


@pytest.fixture
def shelves(tmp_path: Path, tmdb: FakeTmdb, catalog: Catalog, provider: TmdbClient) -> Shelves:
    tmdb.catalogue.add_movie(949, "Heat", "1995-12-15")
    tmdb.catalogue.add_movie(11645, "Ran", "1985-06-01")
    tmdb.catalogue.add_movie(27205, "Inception", "2010-07-15")
    add_to_library(catalog, provider, "movie", 27205)
    return Shelves(tmp_path, catalog, provider)


@on_both_databases
def test_a_library_that_left_the_settings_goes_when_asked_with_titles_that_only_it_had(
    shelves: Shelves,
) -> None:
    before = shelves.holds()
    assert shelves.prune().counts() == dict.fromkeys(
        ("libraries", "titles", "files", "out_of_reach"), 0
    )
    del shelves.libraries[0]
    report = shelves.prune()
    assert report.dry_run
    assert report.titles == ("Heat (1995)",)
    assert "Would remove 1 library, 1 title and 1 file record." in report.to_markdown()
    assert shelves.holds() == before
    assert shelves.prune(dry_run=False).counts() == report.counts()
    assert shelves.holds() == (["new"], ["Ran (1985).mkv"], ["Inception", "Ran"])


@on_both_databases
def test_a_title_without_files_goes_if_only_a_scan_has_made_it(shelves: Shelves) -> None:
    (shelves.libraries[0].path / "Heat (1995).mkv").rename(
        shelves.libraries[0].path / "Ran (1985).mkv"
    )
    shelves.scan()
    assert shelves.holds()[2] == ["Heat", "Inception", "Ran"]
    assert shelves.prune(dry_run=False).titles == ("Heat (1995)",)
    assert shelves.holds()[2] == ["Inception", "Ran"]


@on_both_databases
def test_an_offline_library_goes_only_when_it_is_named(shelves: Shelves) -> None:
    old = shelves.libraries[0].path
    (old / "Heat (1995).mkv").unlink()
    shelves.scan()
    before = shelves.holds()
    report = shelves.prune(dry_run=False)
    assert report.out_of_reach == {"old": 1}
    assert shelves.holds() == before
    with pytest.raises(PruneError, match=r"'new' is not out of reach. What is: 'old'"):
        shelves.prune(dry_run=False, gone_for_good=["new"])
    assert shelves.prune(dry_run=False, gone_for_good=["old"]).given_up == {"old": 1}
    assert shelves.holds() == (["new", "old"], ["Ran (1985).mkv"], ["Inception", "Ran"])
    shelves.scan()
    with shelves.catalog.reading() as session:
        assert all(row.online for row in session.query(Row))


def test_a_disk_that_is_given_up_takes_no_title_of_a_file_that_a_scan_waits_for(
    shelves: Shelves,
) -> None:
    with shelves.catalog.session() as session:
        heat, ran = session.query(MediaFile).order_by(MediaFile.path)
        heat.missing_since, heat.folder_id = dt.datetime.now(dt.UTC), None
        session.query(Folder).filter_by(id=ran.folder_id).update({"mount": "/mnt/sold"})
    report = shelves.prune(dry_run=False, gone_for_good=["/mnt/sold"])
    assert report.titles == ("Ran (1985)",)
    assert shelves.holds()[1:] == (["Heat (1995).mkv"], ["Heat", "Inception"])


def test_the_file_of_a_removed_title_goes_once_it_is_not_there(
    shelves: Shelves, librarian: Librarian
) -> None:
    shutil.copy(shelves.libraries[0].path / "Heat (1995).mkv", shelves.libraries[0].path / "x.mkv")
    librarian.remove("movie", 949)
    (shelves.libraries[0].path / "Heat (1995).mkv").unlink()
    shelves.scan()
    assert "Heat (1995).mkv" in shelves.holds()[1]
    assert shelves.prune(dry_run=False).files == 1
    assert "Heat (1995).mkv" not in shelves.holds()[1]
