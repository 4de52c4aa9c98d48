"""A file that moved keeps its identification, unless its new place says clearly otherwise."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import MediaFile, Movie
from haas_media.settings import Library
from tests.databases import on_both_databases
from tests.fake_tmdb import connected
from tests.haas_media.scan.shelf import mounted

if TYPE_CHECKING:
    from haas_media.progress import Progress
    from haas_media.scan import ScanReport
    from tests.fake_tmdb import FakeTmdb
    from tests.haas_media.scan.shelf import House

HEAT = "Heat (1995)/Heat (1995).mkv"


def moved(report: ScanReport) -> tuple[int, int, int, int]:
    counts = report.counts()
    return counts["moved"], counts["new"], counts["removed"], counts["probed"]


@on_both_databases
@pytest.mark.parametrize(
    ("old", "new", "title"),
    [
        (HEAT, "Crime/Heat (1995).mkv", "Heat (1995)"),
        (HEAT, "4f3a9c1b2d.mkv", "Heat (1995)"),  # says nothing
        ("x/y.mkv", "z/y.mkv", "Stalker (1979)"),  # without its NFO file
        (HEAT, "Heat {tmdb-949}/Heat (1995).mkv", "Heat (1995)"),
        ("Haet (1994).mkv", "Heat (1995).mkv", "Heat (1995)"),  # a correction
        ("4f3a9c1b2d.mkv", "Heat (1995).mkv", "Heat (1995)"),  # unmatched so far
    ],
)
def test_a_file_that_moved_keeps_its_record(house: House, old: str, new: str, title: str) -> None:
    """The same record, under its new path, unprobed."""
    house.films.put(old, "Ran (1985).mkv")
    if old == "x/y.mkv":
        nfo = "<movie><title>Stalker</title><year>1979</year></movie>"
        house.films.put("x/y.nfo", text=nfo)
    house.scan()
    before = house.files()[old]
    house.films.move(old, new)
    assert moved(house.scan()) == (1, 0, 0, 0)
    after = house.files()
    assert old not in after
    assert after[new]["id"] == before["id"]
    assert after[new]["streams"] == before["streams"] != None  # noqa: E711
    assert after[new]["is"] == title
    assert after[new]["tmdb_id"] == (949 if "tmdb" in new else None)
    assert house.known() == sorted(["Ran (1985)", title])


def test_an_episode_whose_number_is_corrected_is_that_episode(house: House) -> None:
    house.shows.put("Dark/Dark S01E01.mkv")
    house.scan()
    house.shows.move("Dark/Dark S01E01.mkv", "Dark/Dark S01E02.mkv")
    assert house.scan().counts()["moved"] == 1
    assert house.titles() == {"Dark/Dark S01E02.mkv": "Dark S01E02"}


@pytest.mark.parametrize("refresh", [False, True])
def test_a_copy_whose_name_is_corrected_is_that_copy_of_the_same_title(
    house: House, refresh: bool
) -> None:
    """Also where an NFO file that was left behind told what it is."""
    house.films.put("x/Heat (1995) - 1080p.mkv", "Ran (1985)/Ran (1985) cd1.mkv")
    nfo = "<movie><title>Stalker</title><year>1979</year></movie>"
    house.films.put("x/Heat (1995) - 1080p.nfo", text=nfo)
    house.scan()
    house.films.move("x/Heat (1995) - 1080p.mkv", "x/Heat (1995) - 2160p {edition-Uncut}.mkv")
    house.films.move("Ran (1985)/Ran (1985) cd1.mkv", "Ran (1985)/Ran (1985) cd2.mkv")
    assert moved(house.scan(refresh_existing=refresh)) == (2, 0, 0, 0)
    assert sorted(house.titles().values()) == ["Ran (1985)", "Stalker (1979)"]
    with house.catalog.reading() as session:
        copies = {(file.edition, file.version, file.part) for file in session.query(MediaFile)}
    assert copies == {("Uncut", "2160p", None), (None, None, 2)}


@pytest.mark.parametrize(
    ("wrong", "right"), [("Haet (1995)", "Heat (1995)"), ("Heat {tmdb-2}", "Heat {tmdb-949}")]
)
def test_an_extra_goes_with_its_film_whose_name_is_corrected(
    house: House, wrong: str, right: str
) -> None:
    """Else it would keep the wrong title in the catalog for ever."""
    house.films.put(f"{wrong}/{wrong}.mkv", f"{wrong}/{wrong}-trailer.mkv", f"{wrong}/Extras/a.mkv")
    house.scan()
    house.films.move(wrong, right)
    for end in (".mkv", "-trailer.mkv"):
        house.films.move(f"{right}/{wrong}{end}", f"{right}/{right}{end}")
    assert moved(house.scan()) == (3, 0, 0, 0)
    assert len({file["title_id"] for file in house.files().values()}) == 1
    assert house.known() == ["Heat (1995)" if "1995" in right else "Heat"]


def test_of_two_episodes_of_a_date_the_corrected_name_says_which(
    house: House, tmdb: FakeTmdb
) -> None:
    tmdb.catalogue.add_show(9, "News", "2010-01-01", seasons={1: ["Morning", "Evening"]})
    for episode in tmdb.catalogue.seasons[9, 1]["episodes"]:
        episode["air_date"] = "2010-05-23"
    old, new = (f"News/News 2010-05-23 part {number}.mkv" for number in (1, 2))
    house.shows.put(old)
    with connected(tmdb.url) as client:
        house.scan(provider=client)
        assert house.titles() == {old: "News (2010) S01E01"}
        house.shows.move(old, new)
        house.scan(provider=client)
    assert house.titles() == {new: "News (2010) S01E02"}


@on_both_databases
def test_a_whole_folder_that_is_renamed_moves_every_file(house: House) -> None:
    house.shows.put(*(f"Dark/Season 1/Dark S01E{number:02d}.mkv" for number in range(1, 11)))
    house.scan()
    before = {file["id"] for file in house.files().values()}
    house.shows.move("Dark", "Series/Dark")
    assert moved(house.scan()) == (10, 0, 0, 0)
    assert {file["id"] for file in house.files().values()} == before


def test_files_that_look_alike_are_told_apart_by_their_names(house: House) -> None:
    for number in range(1, 6):
        house.shows.put(f"Dark/a/Dark S01E{number:02d}.mkv")
        os.utime(house.shows.root / f"Dark/a/Dark S01E{number:02d}.mkv", ns=(1, 1))
    house.scan()
    before = {path.rpartition("/")[2]: file["id"] for path, file in house.files().items()}
    house.shows.move("Dark/a", "Dark/b")
    assert moved(house.scan()) == (5, 0, 0, 0)
    assert {path.rpartition("/")[2]: file["id"] for path, file in house.files().items()} == before


def test_a_copy_is_new_and_not_moved(house: House) -> None:
    house.films.put(HEAT)
    house.scan()
    os.link(house.films.root / HEAT, house.films.root / "Heat (1995)/Heat (1995) copy.mkv")
    assert moved(house.scan()) == (0, 1, 0, 1)


def test_another_film_in_the_place_of_one_that_is_gone_is_new(house: House) -> None:
    """The clips are alike but for name and time."""
    house.films.put(HEAT, "Ran (1985).mkv")
    house.scan()
    house.films.remove("Heat (1995)")
    house.films.put("Alien (1979).mkv")
    assert moved(house.scan()) == (0, 1, 1, 1)
    assert house.titles()["Alien (1979).mkv"] == "Alien (1979)"


def test_a_file_that_moved_to_another_library_of_its_kind_keeps_its_record(house: House) -> None:
    other = house.add_films()
    house.films.put(HEAT, "Ran (1985).mkv")
    house.scan()
    before = house.files()[HEAT]["id"]
    (house.films.root / HEAT).rename(other / "Heat (1995).mkv")
    assert moved(house.scan()) == (1, 0, 0, 0)
    assert house.files()["Heat (1995).mkv"]["id"] == before


def test_a_file_that_moved_to_a_library_of_the_other_kind_is_identified_anew(house: House) -> None:
    house.films.put("Dark S01E01.mkv", "Ran (1985).mkv")
    house.scan()
    (house.films.root / "Dark S01E01.mkv").rename(house.shows.root / "Dark S01E01.mkv")
    assert moved(house.scan()) == (0, 1, 1, 1)
    assert house.titles()["Dark S01E01.mkv"] == "Dark S01E01"


@on_both_databases
@pytest.mark.parametrize("swap", [True, False])
def test_names_that_are_swapped_or_handed_on(house: House, swap: bool) -> None:
    house.films.put("Heat (1995).mkv")
    house.films.put("Ran (1985).mkv", text="x" * 100)
    house.scan()
    house.films.move("Heat (1995).mkv", "temporary")
    house.films.move("Ran (1985).mkv", "Heat (1995).mkv")
    house.films.move("temporary", "Ran (1985).mkv" if swap else "Alien (1979).mkv")
    house.scan()
    titles = house.titles()
    assert all(title == path.removesuffix(".mkv") for path, title in titles.items())
    assert len(titles) == 2
    files = house.files()
    assert files["Heat (1995).mkv"]["probe_error"]
    assert files["Ran (1985).mkv" if swap else "Alien (1979).mkv"]["streams"]


@pytest.mark.parametrize(
    ("old", "new", "title"),
    [
        ("Heat (1995).mkv", "Ran.mkv", "Ran"),
        ("Heat/1.mkv", "Ran/1.mkv", "Ran"),  # the folder has the name
        ("Heat.mkv", "Heat (1995).mkv", "Heat (1995)"),
        ("Heat {tmdb-2}.mkv", "Heat.mkv", "Heat"),
        ("Heat (1995) {tmdb-2}.mkv", "Heat (1995) {tmdb-949}.mkv", "Heat (1995)"),
        ("x/y.mkv", "Heat.mkv", "Heat"),  # was known from an NFO file that was left behind
    ],
)
def test_a_wrong_match_is_undone_by_renaming(
    house: House, tmdb: FakeTmdb, old: str, new: str, title: str
) -> None:
    tmdb.catalogue.add_movie(2, "Ariel", "1988-10-21")
    tmdb.catalogue.add_movie(949, "Heat", "1995-12-15")
    tmdb.catalogue.add_movie(11645, "Ran", "1985-06-01")
    house.films.put(old)
    if old == "x/y.mkv":
        house.films.put("x/y.nfo", text="<movie><title>Ariel</title></movie>")
    with connected(tmdb.url) as client:
        house.scan(provider=client)
        before = house.files()[old]
        house.films.move(old, new)
        assert house.scan(provider=client).counts()["moved"] == 1
        after = house.files()[new]
    assert after["id"] == before["id"]
    assert after["state"] == "matched"
    assert after["is"].startswith(title)
    assert after["tmdb_id"] == (11645 if title == "Ran" else 949)


def test_a_wrong_match_of_an_earlier_scan_is_undone_by_a_refresh(
    house: House, tmdb: FakeTmdb
) -> None:
    tmdb.catalogue.add_movie(949, "Heat", "1995-12-15")
    tmdb.catalogue.add_movie(11645, "Ran", "1985-06-01")
    house.films.put("Ran (1985).mkv", "Heat (1995).mkv")
    with connected(tmdb.url) as client:
        house.scan(provider=client)
        with house.catalog.session() as session:
            for file in session.query(MediaFile):  # as a rename left them once
                file.identity = {"title": "Heat", "year": 1995, "source": "name"}
                file.movie_id = session.query(Movie.id).filter_by(tmdb_id=949).scalar()
        assert house.scan(provider=client).counts()["parsed"] == 0
        house.scan(provider=client, refresh_existing=True)
    assert house.titles() == {"Heat (1995).mkv": "Heat (1995)", "Ran (1985).mkv": "Ran (1985)"}


@pytest.mark.parametrize("at_once", [False, True])
def test_a_file_that_moves_between_libraries_that_are_scanned_one_by_one_is_there_once(
    house: House, at_once: bool
) -> None:
    other = house.add_films()
    house.films.put(HEAT, "Ran (1985).mkv")
    house.scan()
    before = house.files()[HEAT]["id"]
    (house.films.root / HEAT).rename(other / "Heat (1995).mkv")
    found: list[object] = []

    def scan_the_other(progress: Progress | None = None) -> None:
        if not found and (progress is None or progress.phase == "identifying"):
            found.append(moved(house.scan(library="More")))

    if not at_once:
        scan_the_other()
    house.films.put("Up (2009).mkv")
    house.scan(library="Films", on_progress=scan_the_other)
    assert found == [(1, 0, 0, 0)]
    assert moved(house.scan()) == (0, 0, 0, 0)
    assert house.files()["Heat (1995).mkv"]["id"] == before
    assert len(house.files()) == 3


def test_a_library_that_is_offline_lends_nothing_to_one_that_is_scanned_alone(
    house: House,
) -> None:
    other = house.add_films()
    house.films.put(HEAT)
    house.scan()
    away = house.films.root.with_name("away")
    house.films.root.rename(away)
    (away / HEAT).rename(other / "Heat (1995).mkv")
    assert moved(house.scan(library="More")) == (0, 1, 0, 1)
    assert len(house.files()) == 2


@pytest.mark.parametrize(
    ("away", "alone"),
    [("root", True), ("link", True), ("disk", True), ("link", False), ("disk", False)],
)
def test_what_is_out_of_reach_lends_nothing_to_a_copy(house: House, away: str, alone: bool) -> None:
    """Of a library that is not scanned, or of a part of this one that is not."""
    other = house.add_films()
    house.films.put(HEAT)
    place = house.films.root if away == "root" else house.films.root / "More"
    if away == "link":
        (house.films.root.with_name("disk")).mkdir()
        place.symlink_to(house.films.root.with_name("disk"))
    with mounted(place) if away == "disk" else nullcontext():
        house.films.put("More/Ran (1985).mkv")
        house.scan()
        before = house.files()
        copy = (other if alone else house.films.root / "Copies") / "Ran (1985).mkv"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy2(house.films.root / "More/Ran (1985).mkv", copy)
    if away != "disk":
        place.resolve().rename(house.films.root.with_name("away"))
    if away == "root":
        place.mkdir()
    house.scan(library="More") if alone else house.scan(paths=[str(copy)])
    assert before.items() <= house.files().items()
    assert len(house.files()) == len(before) + 1


@pytest.mark.parametrize("inner", [True, False])
def test_files_of_a_library_that_left_the_settings_are_there_once(
    house: House, inner: bool
) -> None:
    """It was within another one that has them now, or both its title and its path have changed."""
    films, shows = house.settings.libraries
    house.films.put("kids/Up (2009).mkv")
    kids = Library(title="Kids", kind="movies", path=films.path / "kids")
    house.with_settings(libraries=(films, shows, kids) if inner else (shows, kids))
    house.scan()
    before = {file["id"] for file in house.files().values()}
    if not inner:
        kids.path.rename(films.path / "children")
    house.with_settings(libraries=(films, shows))
    assert moved(house.scan()) == (1, 0, 0, 0)
    assert {file["id"] for file in house.files().values()} == before


@pytest.mark.parametrize("how", ["scanned alone", "out of reach", "out of reach, by a link"])
def test_files_of_a_folder_that_becomes_a_library_are_there_once(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    films, shows = house.settings.libraries
    house.films.put("kids/Up (2009).mkv", "Heat (1995).mkv")
    root, alone, by_link = films.path / "kids", how == "scanned alone", how.endswith("link")
    if by_link:
        root = root.rename(films.path.with_name("kids"))
        (films.path / "kids").symlink_to(root)
    house.scan()
    before = {file["id"] for file in house.files().values()}
    kids = Library(title="Kids", kind="movies", path=root)
    house.with_settings(libraries=(films, shows, kids))
    real = os.scandir

    def stale(path: str) -> object:
        if str(path).startswith(str(root)):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    with monkeypatch.context() as patch:
        if not alone:
            patch.setattr(os, "scandir", stale)
        for _ in range(2):
            report = house.scan(library="Films" if alone else None)
            assert moved(report) == (0, 0, 0, 0)
            assert [each.path for each in report.libraries[0].problems] == ["kids"] * by_link
    assert moved(house.scan(library=None if by_link else "Kids")) == (1, 0, 0, 0)
    assert moved(house.scan()) == (0, 0, 0, 0)
    assert {file["id"] for file in house.files().values()} == before
