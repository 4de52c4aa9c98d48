"""A scan of paths looks at these alone, and all that a scan promises holds for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.databases import on_both_databases

if TYPE_CHECKING:
    from haas_media.progress import Progress
    from haas_media.scan import ScanReport
    from tests.haas_media.scan.shelf import House

HEAT, RAN = "Heat (1995)/Heat (1995).mkv", "Ran (1985)/Ran (1985).mkv"


def scan(house: House, *paths: str) -> ScanReport:
    return house.scan(paths=[str(house.films.root / path) for path in paths])


def did(report: ScanReport) -> dict[str, int]:
    counts = report.counts()
    return {
        name: counts[name]
        for name in ("found", "new", "changed", "moved", "removed", "parsed")
        if counts[name]
    }


@on_both_databases
def test_only_what_lies_at_the_paths_is_looked_at(house: House) -> None:
    house.films.put(HEAT, RAN)
    house.shows.put("Fargo/Fargo S01E01.mkv")
    house.scan()
    alien = "Alien (1979)/Alien (1979).mkv"
    house.films.put(alien, "Brazil (1985)/Brazil (1985).mkv", "Up (2009).mkv")
    house.films.remove(RAN)
    assert did(scan(house, alien)) == {"found": 1, "new": 1, "parsed": 1}
    assert sorted(house.titles()) == [alien, "Fargo/Fargo S01E01.mkv", HEAT, RAN]
    assert did(scan(house, "Ran (1985)", "Brazil (1985)")) == {
        "found": 1,
        "new": 1,
        "parsed": 1,
        "removed": 1,
    }
    assert did(scan(house, "Up (2009).mkv")) == {"found": 1, "new": 1, "parsed": 1}
    counts = house.scan().counts()
    assert (counts["unchanged"], counts["parsed"], counts["removed"]) == (5, 0, 0)


@pytest.mark.parametrize("at", ["", "/BDMV", "/BDMV/STREAM", "/BDMV/STREAM/00001.m2ts"])
def test_a_disc_is_found_by_any_path_to_it(house: House, at: str) -> None:
    house.films.put(HEAT, "Ikiru (1952)/BDMV/index.bdmv", "Ikiru (1952)/BDMV/STREAM/00001.m2ts")
    house.films.put("Kagemusha (1980)/BDMV/STREAM/00001.m2ts")
    house.scan(library="Films")
    house.films.put("Ikiru (1952)/BDMV/STREAM/00002.m2ts", "Ran (1985)/BDMV/STREAM/00001.m2ts")
    assert did(scan(house, f"Ran (1985){at}")) == {"found": 1, "new": 1, "parsed": 1}
    assert did(scan(house, f"Ikiru (1952){at}"))["changed"] == 1
    house.films.remove("Ikiru (1952)/BDMV")
    assert did(scan(house, f"Ikiru (1952){at}")) == {"removed": 1}
    assert "Kagemusha (1980)/BDMV" in house.titles()


@on_both_databases
@pytest.mark.parametrize("at", ["Ran (1985)", RAN, "Ran (1985)/gone/deeper.mkv"])
def test_what_is_gone_is_removed_by_any_path_to_it(house: House, at: str) -> None:
    house.films.put(HEAT, RAN, "Ran (1985)/gone/deeper.mkv")
    house.scan()
    house.films.remove("Ran (1985)")
    scan(house, at)
    assert [*house.titles()] == [HEAT]


@on_both_databases
@pytest.mark.parametrize("both", [True, False])
def test_a_file_that_moved_keeps_its_record(house: House, both: bool) -> None:
    """Even if nothing was said of where it was."""
    house.films.put(HEAT, RAN)
    house.scan()
    before = house.files()[HEAT]["id"]
    house.films.move(HEAT, "Crime/Heat (1995).mkv")
    report = scan(house, "Crime", *(["Heat (1995)"] if both else []))
    assert did(report) == {"found": 1, "moved": 1, "parsed": 1}
    assert house.files()["Crime/Heat (1995).mkv"]["id"] == before
    assert sorted(house.titles()) == ["Crime/Heat (1995).mkv", RAN]


@on_both_databases
def test_an_error_is_taken_for_no_deletion(house: House) -> None:
    """A root that is empty or away; and what is missing is removed by a scan of all only."""
    many = [f"All/Film {number} (1990).mkv" for number in range(8)]
    house.films.put(*many)
    house.scan()
    house.films.root.rename(house.films.root.with_name("away"))
    assert [each.online for each in scan(house, "All").libraries] == [False]
    house.films.root.mkdir()
    assert [each.online for each in scan(house, many[0]).libraries] == [False]
    house.films.put("All/stray.mkv")
    for _ in range(2):
        assert scan(house, "All").counts()["removed"] == 0
    assert set(many) < set(house.titles())
    assert house.scan().counts()["removed"] == 8


@on_both_databases
def test_an_nfo_file_bears_on_what_a_scan_of_all_has_it_bear_on(house: House) -> None:
    house.shows.put("Fargo/Season 1/Fargo S01E01.mkv", "Lost/Lost S01E01.mkv")
    house.scan()
    house.shows.put("Fargo/tvshow.nfo", text="<tvshow><title>Farewell</title></tvshow>")
    house.scan(paths=[str(house.shows.root / "Fargo/tvshow.nfo")])
    assert house.titles() == {
        "Fargo/Season 1/Fargo S01E01.mkv": "Farewell S01E01",
        "Lost/Lost S01E01.mkv": "Lost S01E01",
    }
    house.shows.put("Fargo/Season 1/Fargo S01E02.mkv")
    house.scan(paths=[str(house.shows.root / "Fargo/Season 1")])
    assert house.titles()["Fargo/Season 1/Fargo S01E02.mkv"] == "Farewell S01E02"
    assert house.scan().counts()["parsed"] == 0


@on_both_databases
def test_paths_in_no_library_are_noted_and_links_are_known_by_their_target(house: House) -> None:
    behind = house.films.root.with_name("behind")
    (house.films.root / "Link").symlink_to(behind)
    house.films.put("../behind/Heat (1995).mkv", RAN)
    house.scan()
    house.films.put("Link/Up (2009).mkv", "../other/Ikiru (1952).mkv")
    (house.films.root / "New").symlink_to(behind.with_name("other"))
    assert did(scan(house, "Link/Up (2009).mkv")) == {"found": 2, "new": 1, "parsed": 1}
    report = house.scan(paths=["/nowhere/Film.mkv", str(house.films.root / "New"), "relative.mkv"])
    assert report.notes == (
        "/nowhere/Film.mkv is in no library.",
        "relative.mkv is in no library.",
    )
    (problem,) = report.libraries[0].problems
    assert (problem.path, "left to one" in problem.reason) == ("New", True)
    assert house.scan().counts()["new"] == 1


@on_both_databases
def test_a_library_that_no_scan_has_seen_as_it_is_set_is_scanned_as_a_whole(house: House) -> None:
    house.films.put(HEAT, RAN)
    assert did(scan(house, HEAT)) == {"found": 2, "new": 2, "parsed": 2}


@on_both_databases
def test_one_that_waited_leaves_out_what_a_full_scan_has_covered(house: House) -> None:
    house.films.put(HEAT)
    house.scan()
    house.films.put(RAN)
    waits, reports = threading.Event(), []

    def look(progress: Progress) -> None:
        if progress.phase == "waiting":
            waits.set()

    paths = [str(house.films.root / name) for name in ("Ran (1985)", "Up (2009)")]
    other = threading.Thread(
        target=lambda: reports.append(house.scan(paths=paths, on_progress=look))
    )

    def walked(progress: Progress) -> None:
        if progress.phase not in ("walking", "waiting") and not waits.is_set():
            house.films.put("Up (2009)/Up (2009).mkv")
            other.start()
            assert waits.wait(60)

    assert did(house.scan(on_progress=walked)) == {"found": 2, "new": 1, "parsed": 1}
    other.join()
    assert did(reports[0]) == {"found": 2, "new": 1, "parsed": 1}
    assert [*house.titles()] == [HEAT, RAN, "Up (2009)/Up (2009).mkv"]
