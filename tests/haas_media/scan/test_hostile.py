"""Names and trees that break careless scanners."""

from __future__ import annotations

import os
import random
import shutil
import unicodedata
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.databases import on_both_databases

if TYPE_CHECKING:
    from haas_media.scan import ScanReport
    from tests.haas_media.scan.shelf import House


def problems(report: ScanReport) -> list[tuple[str, str]]:
    return [astuple(problem) for library in report.libraries for problem in library.problems]


NAMES = [
    "-rf (1995).mkv",
    "http:x (1995).mkv",
    "%03d (1995).mkv",
    'quote\' "double" (1995).mkv',
    "new\nline (1995).mkv",
    "back\\slash (1995).mkv",
    "[brackets] {curly} (1995).mkv",
    "🎬 emoji (1995).mkv",
    "tab\there (1995).mkv",
    "semi;colon & $HOME `x` (1995).mkv",
    "a" * 240 + " (1995).mkv",
    "UPPER (1995).MKV",
]


@on_both_databases
def test_a_name_is_just_a_name(house: House) -> None:
    paths = {*NAMES, *(f"{name[:-4]}/{name}" for name in NAMES)}
    house.films.put(*paths)
    report = house.scan()
    assert report.counts()["found"] == len(paths)
    assert set(house.files()) == paths
    assert all(file["streams"] for file in house.files().values()), problems(report)
    assert report.to_markdown()
    assert house.scan().counts()["unchanged"] == len(paths)


@on_both_databases
def test_names_that_are_not_utf_8_are_kept_byte_for_byte(house: House) -> None:
    raw = b"Am\xe9lie (2001)/Am\xe9lie \xff (2001).mkv"
    house.films.put(os.fsdecode(raw), "Heat (1995).mkv")
    house.films.put(os.fsdecode(raw.replace(b".mkv", b".srt")), text="x")
    report = house.scan()
    assert report.counts()["found"] == 2
    file = house.files()[os.fsdecode(raw)]
    assert file["streams"], problems(report)
    assert len(file["sidecars"]) == 1
    report.to_markdown().encode()
    assert house.scan().counts()["unchanged"] == 2
    (house.films.root / os.fsdecode(raw)).rename(house.films.root / os.fsdecode(b"\xfe (2001).mkv"))
    assert house.scan().counts()["moved"] == 1


@on_both_databases
def test_composed_and_decomposed_names_are_one_title(house: House) -> None:
    composed = unicodedata.normalize("NFC", "Amélie (2001)")
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    house.films.put(f"a/{composed}.mkv", f"b/{decomposed}.mkv")
    house.scan()
    assert len(house.files()) == 2
    assert len(house.known()) == 1


def test_sidecars_that_are_composed_otherwise_belong_to_their_video(house: House) -> None:
    house.films.put(unicodedata.normalize("NFC", "Amélie (2001).mkv"), "Heat (1995).mkv")
    house.films.put(unicodedata.normalize("NFD", "AMÉLIE (2001).srt"), text="x")
    nfo = "<movie><title>Amélie Poulain</title></movie>"
    house.films.put(unicodedata.normalize("NFD", "Amélie (2001).nfo"), text=nfo)
    house.scan()
    file = house.files()[unicodedata.normalize("NFC", "Amélie (2001).mkv")]
    assert sorted(file["sidecars"].values()) == ["nfo", "subtitle"]
    assert file["is"] == "Amélie Poulain (2001)"


def test_a_name_that_is_only_composed_otherwise_has_moved(house: House) -> None:
    composed = unicodedata.normalize("NFC", "Amélie (2001).mkv")
    house.films.put(composed, "Heat (1995).mkv")
    house.scan()
    before = house.files()[composed]["id"]
    decomposed = unicodedata.normalize("NFD", composed)
    house.films.move(composed, decomposed)
    assert house.scan().counts()["moved"] == 1
    assert house.files()[decomposed]["id"] == before


def test_a_name_that_is_only_spelt_in_another_case_has_moved(house: House) -> None:
    """On a network share, whose files may have new numbers after each mount."""
    house.films.put("heat (1995).mkv", "Ran (1985).mkv")
    house.scan()
    before = house.files()["heat (1995).mkv"]["id"]
    old = house.films.root / "heat (1995).mkv"
    shutil.copy2(old, house.films.root / "Heat (1995).mkv")
    old.unlink()
    assert house.scan().counts()["moved"] == 1
    assert house.files()["Heat (1995).mkv"]["id"] == before


def test_links_in_a_circle_end(house: House) -> None:
    house.films.put("Heat (1995)/Heat (1995).mkv")
    root = house.films.root
    (root / "up").symlink_to(root)
    (root / "Heat (1995)" / "again").symlink_to(root / "Heat (1995)")
    (root / "outside").symlink_to(root.parent)
    (root / "self").symlink_to("self")
    (root / "self.mkv").symlink_to("self.mkv")
    report = house.scan()
    assert list(house.files()) == ["Heat (1995)/Heat (1995).mkv"]
    assert report.counts()["found"] == 1
    assert problems(report) == [
        ("self.mkv", "it is a link that leads nowhere"),
    ]


def test_links_between_folders_outside_end(house: House) -> None:
    outside = house.films.root.with_name("outside")
    for name in ("a", "b"):
        (outside / name).mkdir(parents=True)
    (outside / "a" / "to b").symlink_to(outside / "b")
    (outside / "b" / "to a").symlink_to(outside / "a")
    house.films.put("Heat (1995).mkv")
    (house.films.root / "a").symlink_to(outside / "a")
    (house.films.root / "a too").symlink_to(outside / "a")
    (outside / "b" / "Ran (1985).mkv").symlink_to(house.films.clip)
    house.scan()
    assert [path.rpartition("/")[2] for path in house.files()] == [
        "Heat (1995).mkv",
        "Ran (1985).mkv",
    ]


def test_links_to_files_and_folders_are_followed(house: House) -> None:
    elsewhere = house.films.root.with_name("elsewhere")
    elsewhere.mkdir()
    os.link(house.films.clip, elsewhere / "Ran (1985).mkv")
    (house.films.root / "Linked").symlink_to(elsewhere)
    (house.films.root / "Heat (1995).mkv").symlink_to(elsewhere / "Ran (1985).mkv")
    house.scan()
    assert house.titles() == {
        "Heat (1995).mkv": "Heat (1995)",
        "Linked/Ran (1985).mkv": "Ran (1985)",
    }


def test_a_file_behind_a_link_that_leads_nowhere_keeps_its_record(house: House) -> None:
    disk = house.films.root.with_name("disk")
    disk.mkdir()
    os.link(house.films.clip, disk / "heat.mkv")
    (house.films.root / "Heat (1995).mkv").symlink_to(disk / "heat.mkv")
    house.films.put("Ran (1985).mkv")
    house.scan()
    before = house.files()
    disk.rename(disk.with_name("away"))
    report = house.scan()
    assert house.files() == before
    assert report.counts()["removed"] == 0
    assert problems(report) == [("Heat (1995).mkv", "it is a link that leads nowhere")]


def test_what_is_no_regular_file_is_left_alone(house: House) -> None:
    os.mkfifo(house.films.root / "Heat (1995).mkv")
    house.films.put("Ran (1985).mkv", "folder.mkv/Alien (1979).mkv")
    report = house.scan()
    assert set(house.files()) == {"Ran (1985).mkv", "folder.mkv/Alien (1979).mkv"}
    assert problems(report) == [("Heat (1995).mkv", "it is no regular file")]


@on_both_databases
def test_a_path_longer_than_the_catalog_holds_is_reported(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = "x" * 200
    monkeypatch.chdir(house.films.root)
    for _ in range(12):
        Path(part).mkdir()
        monkeypatch.chdir(part)
    Path("Heat (1995).mkv").touch()
    house.films.put("Ran (1985).mkv")
    report = house.scan()
    assert list(house.files()) == ["Ran (1985).mkv"]
    ((path, reason),) = problems(report)
    assert path == "/".join([part] * 9)
    assert reason.startswith("its path is longer than 1700 bytes, so it is left out")


@pytest.mark.parametrize("link", ["More", "Ran.1985.1080p.DTS", "Ran.1985.x264.mkv", "Ran.nfo"])
def test_what_is_on_record_behind_a_link_to_a_folder_that_is_away_is_kept(
    house: House, link: str
) -> None:
    """Whatever its name looks like: folders are called after releases, and these after codecs."""
    disk = house.films.root.with_name("disk")
    disk.mkdir()
    os.link(house.films.clip, disk / "Ran (1985).mkv")
    (house.films.root / link).symlink_to(disk)
    house.films.put("Heat (1995)/Heat (1995).mkv")
    house.scan()
    before = house.files()
    disk.rename(disk.with_name("away"))
    report = house.scan()
    assert house.files() == before
    assert [path for path, _ in problems(report)] == [link]
    assert problems(report)[0][1].startswith("it is a link that leads nowhere")


def test_a_deep_tree(house: House) -> None:
    deep = "/".join("d" * 2 for _ in range(300))
    house.films.put(f"{deep}/Heat (1995).mkv")
    house.scan()
    assert list(house.titles().values()) == ["Heat (1995)"]


@on_both_databases
@pytest.mark.parametrize("time_ns", [2**63, 2**64, -(2**63) - 1], ids=["2262", "2554", "1677"])
def test_a_time_that_no_clock_shows_is_a_time(house: House, time_ns: int) -> None:
    house.films.put("Heat (1995).mkv", "Ran (1985).mkv")
    file = house.films.root / "Heat (1995).mkv"
    try:
        os.utime(file, ns=(0, time_ns))
    except OSError:
        pytest.skip("the file system keeps no such times")
    assert house.scan().counts()["matched"] == 2
    assert house.scan().counts()["unchanged"] == 2
    house.films.move("Heat (1995).mkv", "Heat/Heat (1995).mkv")
    assert house.scan().counts()["moved"] == 1


@on_both_databases
def test_a_number_larger_than_any_is_none(house: House) -> None:
    """Each alone would fail the whole scan on PostgreSQL."""
    for number, source in ((2**31, "tmdb"), (9_999_999_999, "tvdb")):
        house.films.put(f"Heat {source} (1995) {{{source}-{number}}}.mkv")
        house.shows.put(f"Dark {{{source}-{number}}}/Dark S01E01.mkv")
    house.films.put("Ran (1985).mkv", "Alien (1979).mkv", "Amélie (2001) {tmdb-2147483647}.mkv")
    house.films.put(
        "Ran (1985).nfo",
        text="<movie><title>Ran</title><year>1985</year><tmdbid>9999999999</tmdbid></movie>",
    )
    house.films.put("Alien (1979).nfo", text="https://www.themoviedb.org/movie/99999999999")
    many = ["Dark/S3000000000E01.mkv", "Dark/S01E3000000000.mkv"]
    house.shows.put(*many)
    house.scan()
    films = ["Alien (1979)", "Amélie (2001)", "Heat tmdb (1995)", "Heat tvdb (1995)", "Ran (1985)"]
    assert house.known() == sorted(["Dark", *films])
    files = house.files()
    assert [files[path]["reason"] for path in many] == [
        "The name tells a season or episode that is larger than any. "
        "Rename it like 'Show - S01E02'."
    ] * 2


@on_both_databases
def test_bytes_that_are_not_utf_8_count_as_the_catalog_spells_them(house: House) -> None:
    house.films.put("Ran (1985).mkv")
    some = random.Random(1)
    part = bytes(some.randrange(0x80, 0x100) for _ in range(250))
    # As one path it would be longer than a system call takes.
    folder = os.open(house.films.root, os.O_RDONLY)
    for _ in range(6):
        os.mkdir(part, dir_fd=folder)
        folder = os.open(part, os.O_RDONLY, dir_fd=folder)
    os.close(os.open(b"Heat (1995).mkv", os.O_CREAT, dir_fd=folder))
    report = house.scan()
    assert list(house.files()) == ["Ran (1985).mkv"]
    ((_, reason),) = problems(report)
    assert reason.startswith("its path is longer than 1700 bytes")
