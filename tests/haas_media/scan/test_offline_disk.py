"""An offline disk is not a deletion: a root or a part of it that is missing, unreadable or empty.

Peers have lost whole libraries this way (jellyfin #1714, #4123, #7973).
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import subprocess
from contextlib import contextmanager, nullcontext
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest

from haas_media.catalog.models import Library, MediaFile
from haas_media.library.prune import prune
from haas_media.mounts import is_mounted
from haas_media.scan import offline
from haas_media.scan import walk as walking
from tests.databases import on_both_databases
from tests.haas_media.scan.shelf import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.progress import Progress
    from haas_media.scan import LibraryReport, ScanReport
    from tests.haas_media.scan.shelf import House

NOBODY = 65534


@pytest.fixture
def filled(house: House) -> House:
    house.films.put("The Matrix (1999)/The Matrix (1999).mkv", "Heat (1995)/Heat (1995).mkv")
    house.shows.put("Dark/Season 1/Dark S01E01.mkv", "Dark/Season 1/Dark S01E02.mkv")
    house.scan()
    return house


def films(report: ScanReport) -> LibraryReport:
    return report.libraries[0]


def is_online(house: House, title: str = "Films") -> bool:
    with house.catalog.reading() as session:
        return session.query(Library.online).filter_by(title=title).one()[0]


@on_both_databases
def test_offline_disk_root_missing_keeps_every_record(filled: House) -> None:
    before = filled.files()
    filled.films.root.rename(filled.films.root.with_name("away"))
    report = filled.scan()
    assert filled.files() == before
    assert not films(report).online
    assert films(report).offline_reason == "its folder is missing"
    assert "**Films is offline**" in report.to_markdown()
    assert report.counts()["offline_libraries"] == 1
    assert not is_online(filled)


@pytest.mark.parametrize("how", ["empty", "without any video", "a link to itself"])
def test_offline_disk_root_that_is_there_keeps_every_record(filled: House, how: str) -> None:
    before, root = filled.files(), filled.films.root
    root.rename(root.with_name("away"))
    if how == "a link to itself":
        root.symlink_to(root)
    else:
        root.mkdir()
    if how == "without any video":
        filled.films.put("lost+found/x", "README.txt", text="This disk is not mounted.")
    report = films(filled.scan())
    assert filled.files() == before
    assert not report.online
    if how == "empty":
        assert report.offline_reason == "its folder is empty, but 2 files are on record"


@on_both_databases
def test_offline_disk_that_comes_back_is_as_it_was(filled: House) -> None:
    before = filled.files()
    away = filled.films.root.with_name("away")
    filled.films.root.rename(away)
    filled.scan()
    away.rename(filled.films.root)
    report = filled.scan()
    assert films(report).online
    assert is_online(filled)
    assert report.counts()["parsed"] == report.counts()["probed"] == 0
    assert filled.files() == before


def test_offline_disk_does_not_stop_the_other_libraries(filled: House) -> None:
    filled.films.root.rename(filled.films.root.with_name("away"))
    filled.shows.put("Dark/Season 1/Dark S01E03.mkv")
    report = filled.scan()
    assert report.counts()["new"] == 1
    assert is_online(filled, "Shows")
    assert "Dark/Season 1/Dark S01E03.mkv" in filled.files()


def test_offline_disk_does_not_lend_its_files_to_a_library_that_has_copies(filled: House) -> None:
    """Files of an offline disk have not moved, even if the same ones turn up elsewhere."""
    before = filled.files()
    away = filled.films.root.with_name("away")
    filled.films.root.rename(away)
    (away / "Heat (1995)").rename(filled.shows.root / "Found (1995)")
    filled.scan()
    assert before.items() <= filled.files().items()


def test_offline_disk_at_the_first_scan_is_said(house: House) -> None:
    house.films.root.rmdir()
    report = house.scan()
    assert films(report).offline_reason == "its folder is missing"


def test_an_empty_library_that_never_held_anything_is_online(house: House) -> None:
    assert films(house.scan()).online


def test_offline_disk_that_goes_away_during_the_walk_keeps_every_record(
    filled: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filled.files()
    real, away = os.scandir, filled.films.root.with_name("away")

    opened = []

    def leaving(path: str) -> object:
        opened.append(path)
        if len(opened) == 3:  # the root, a first film, and now the second
            filled.films.root.rename(away)
        return real(path)

    monkeypatch.setattr(walking.os, "scandir", leaving)
    report = filled.scan()
    assert away.exists()
    assert films(report).found == 1
    assert films(report).offline_reason == "its folder is missing"
    assert filled.files() == before


@pytest.mark.parametrize("place", [".", "Disk 2"])
def test_offline_disk_that_is_back_before_the_walk_ends_keeps_every_record(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Also when the next scan, which is to decide, finds it away once more."""
    source, root = tmp_path / "source", house.films.root
    source.mkdir()
    (root / place).mkdir(exist_ok=True)
    house.films.put(f"{place}/Stray (2001).mkv")
    real = os.scandir

    def flicker(path: str) -> object:
        if Path(path) != root / place:
            return real(path)
        subprocess.run(["umount", path], check=True)
        with real(path) as entries:
            listed = [entry for entry in entries if entry.stat()]
        subprocess.run(["mount", "--bind", str(source), path], check=True)
        return nullcontext(listed)

    with mounted(root / place, source):
        if place != ".":
            house.films.put("Heat (1995).mkv")
        house.films.put(f"{place}/Ran (1985).mkv", f"{place}/a/Alien (1979).mkv")
        house.scan()
        before = house.files()
        monkeypatch.setattr(walking.os, "scandir", flicker)
        report = films(house.scan())
        monkeypatch.undo()
        assert (report.found, report.removed) == (1 if place == "." else 2, 0)
        assert before.items() <= house.files().items()
        assert any("2 files were not there" in problem.reason for problem in report.problems)
        subprocess.run(["umount", root / place], check=True)
        for _ in range(2):
            assert films(house.scan()).removed == 0
        assert before.items() <= house.files().items()
        subprocess.run(["mount", "--bind", str(source), root / place], check=True)
        report = films(house.scan())
        assert (report.removed, report.parsed, report.problems) == (1, 0, ())
        assert house.files() == before


def test_offline_disk_below_the_root_keeps_its_records(filled: House) -> None:
    """A disk that is mounted below the root leaves an empty folder behind."""
    with mounted(filled.films.root / "Disk 2") as disk:
        filled.films.put("Disk 2/Ran (1985)/Ran (1985).mkv", "Disk 2/Alien (1979).mkv")
        filled.scan()
        before = filled.files()
        filled.films.remove("Disk 2/Alien (1979).mkv")
        assert films(filled.scan()).removed == 1  # the disk is there, so this is a deletion
        del before["Disk 2/Alien (1979).mkv"]
    report = filled.scan()
    assert filled.files() == before
    assert films(report).removed == 0
    reason = f"the disk that was mounted on {disk} is not there; 1 record kept"
    assert [astuple(problem) for problem in films(report).problems] == [("Disk 2", reason)]


def test_offline_disk_behind_a_link_keeps_its_records(filled: House) -> None:
    with mounted(filled.films.root.with_name("disk")) as disk:
        (filled.films.root / "More").symlink_to(disk / "films")
        (disk / "films").mkdir()
        filled.films.put("More/Ran (1985).mkv")
        filled.scan()
        before = filled.files()
        assert "More/Ran (1985).mkv" in before
    assert films(filled.scan()).removed == 0
    assert filled.files() == before


def test_offline_disk_behind_a_link_from_another_disk_keeps_its_records(house: House) -> None:
    """The folder that it was mounted on is there, empty, on a third disk: the system's."""
    with mounted(house.films.root), mounted(house.films.root.with_name("disk")) as disk:
        house.films.put("Heat (1995).mkv")
        (house.films.root / "More").symlink_to(disk)
        house.films.put("More/Ran (1985)/Ran (1985).mkv", "More/Alien (1979).mkv")
        house.scan()
        before = house.files()
        assert len(before) == 3
        house.films.remove("More/Alien (1979).mkv")
        assert films(house.scan()).removed == 1  # the disk is there, so this is a deletion
        del before["More/Alien (1979).mkv"]
        subprocess.run(["umount", str(disk)], check=True)
        report = films(house.scan())
        assert (report.removed, house.files()) == (0, before)
        assert [problem.path for problem in report.problems] == ["More"]
        house.films.put("More/Jaws (1975).mkv")  # somebody makes use of the folder as it is
        assert films(house.scan()).removed == 0
        assert before.items() <= house.files().items()


def test_a_disk_behind_a_link_that_is_there_and_emptied_loses_its_records(house: House) -> None:
    with mounted(house.films.root), mounted(house.films.root.with_name("disk")) as disk:
        house.films.put("Heat (1995).mkv")
        (house.films.root / "More").symlink_to(disk)
        house.films.put("More/Ran (1985)/Ran (1985).mkv")
        house.scan()
        house.films.remove("More/Ran (1985)")
        assert films(house.scan()).removed == 1


@pytest.mark.parametrize("leaves", ["after a scan", "before it ends"])
def test_offline_disk_of_the_root_itself_is_not_a_deletion_when_a_stray_file_lies_there(
    house: House, leaves: str
) -> None:
    """A downloader has written into the folder that the disk is mounted on."""
    with mounted(house.films.root) as disk:
        house.films.put(*(f"Film {number} (1999).mkv" for number in range(20)))

        def leave(progress: Progress) -> None:
            if progress.phase == "identifying" and is_mounted(str(disk)):
                subprocess.run(["umount", str(disk)], check=True)

        house.scan(on_progress=leave if leaves == "before it ends" else None)
        before = house.files()
        subprocess.run(["umount", str(disk)], check=leaves == "after a scan")
        house.films.put("Stray (2001).mkv")
        for _ in range(2):
            report = films(house.scan())
            assert report.offline_reason == f"the disk that was mounted on {disk} is not there"
            assert (report.removed, report.new, house.files()) == (0, 0, before)


@pytest.mark.parametrize("place", [".", "Disk 2", "link"])
def test_a_folder_that_was_mounted_from_the_same_disk_is_an_offline_disk(
    house: House, tmp_path: Path, place: str
) -> None:
    """By ``mount --bind``, as volumes of containers are: only the list of mounts tells it."""
    source = tmp_path / "source"
    source.mkdir()
    root = house.films.root
    place_of_mount = tmp_path / "elsewhere" if place == "link" else root / place
    if place != ".":
        house.films.put("Heat (1995).mkv")
    if place == "link":
        (root / "link").symlink_to(place_of_mount)
    with mounted(place_of_mount, source) as disk:
        house.films.put(f"{place}/Ran (1985).mkv", f"{place}/a/Alien (1979).mkv")
        house.scan()
        assert films(house.scan()).unchanged == len(house.files())
        before = house.files()
        assert prune(house.catalog, house.settings.libraries).out_of_reach == {}
        subprocess.run(["umount", str(disk)], check=True)
        house.films.put(f"{place}/Stray (2001).mkv")
        for _ in range(2):
            report = films(house.scan())
            assert report.removed == 0
            assert before.items() <= house.files().items()
        said = report.offline_reason or report.problems[0].reason
        assert f"the disk that was mounted on {disk.resolve()} is not there" in said


def test_a_library_that_was_copied_off_its_disk_is_online_and_loses_what_is_deleted(
    house: House,
) -> None:
    films_kept = house.films.root.with_name("copy")
    with mounted(house.films.root) as disk:
        house.films.put("Heat (1995).mkv", "Ran (1985).mkv", "Up (2009).mkv")
        house.scan()
        before = house.titles()
        shutil.copytree(disk, films_kept)
        subprocess.run(["umount", str(disk)], check=True)
        shutil.copytree(films_kept, disk, dirs_exist_ok=True)
        house.films.remove("Up (2009).mkv")  # before a scan has seen the copy
        report = films(house.scan())
        assert (report.online, report.removed) == (True, 1)
        assert house.titles().items() < before.items()
        house.films.remove("Ran (1985).mkv")
        assert films(house.scan()).removed == 1


@pytest.mark.parametrize("behind_a_link", [True, False])
def test_a_disk_below_the_root_that_was_copied_off_loses_what_is_deleted(
    house: House, tmp_path: Path, behind_a_link: bool
) -> None:
    """It is mounted elsewhere, or not needed, by now."""
    place, copy = house.films.root / "More", tmp_path / "copy"
    house.films.put("Heat (1995).mkv")
    if behind_a_link:
        place.symlink_to(tmp_path / "a")
    with mounted(tmp_path / "a" if behind_a_link else place) as disk:
        house.films.put("More/Ran (1985).mkv", "More/Jaws (1975).mkv")
        house.films.put("More/a/Alien (1979).mkv", "More/a/Up (2009).mkv")
        house.scan()
        shutil.copytree(disk, copy)
        subprocess.run(["umount", str(disk)], check=True)
        if behind_a_link:
            place.unlink()
        with mounted(tmp_path / "b" if behind_a_link else copy.with_name("unused")) as other:
            if behind_a_link:
                place.symlink_to(other)
            shutil.copytree(copy, place, dirs_exist_ok=True)
            house.films.remove("More/Ran (1985).mkv")  # before a scan has seen the copy
            report = films(house.scan())
            assert (report.removed, report.problems) == (1, ())
            house.films.remove("More/a")
            report = films(house.scan())
            assert (report.removed, report.problems) == (2, ())
            assert set(house.files()) == {"Heat (1995).mkv", "More/Jaws (1975).mkv"}


def test_a_root_on_another_disk_than_before_is_not_taken_for_offline(house: House) -> None:
    with mounted(house.films.root):
        house.films.put("Heat (1995).mkv", "Ran (1985).mkv")
        house.scan()
    with mounted(house.films.root):
        house.films.put("Heat (1995).mkv")
        assert films(house.scan()).removed == 1


@on_both_databases
def test_a_large_part_that_is_gone_is_removed_by_the_second_scan_that_says_so(
    house: House,
) -> None:
    """A union mount that has lost a branch looks as a deletion does."""
    house.films.put(*(f"Film {number} (1999)/a.mkv" for number in range(12)), "Heat (1995).mkv")
    house.scan()
    before = house.files()
    branch = house.films.root.with_name("branch")
    branch.mkdir()
    for number in range(12):
        (house.films.root / f"Film {number} (1999)").rename(branch / f"Film {number} (1999)")
    report = films(house.scan())
    assert (report.removed, house.files()) == (0, before)
    assert [problem.path for problem in report.problems] == ["."]
    assert "12 of 13 files on record are not there" in report.problems[0].reason
    for path in branch.iterdir():
        path.rename(house.films.root / path.name)
    report = films(house.scan())
    assert (report.unchanged, report.parsed, report.problems) == (13, 0, ())
    assert house.files() == before
    for number in range(12):
        house.films.remove(f"Film {number} (1999)")
    assert films(house.scan()).removed == 0, "it has been whole since"
    assert films(house.scan()).removed == 12
    assert list(house.files()) == ["Heat (1995).mkv"]


def test_a_large_part_of_what_is_in_reach_is_not_removed_at_once(house: House) -> None:
    """Two disks of a union and one below it go together when their box is switched off."""
    house.films.put(*(f"Film {number} (1999).mkv" for number in range(10)))
    with mounted(house.films.root / "Disk 2") as disk:
        house.films.put(*(f"Disk 2/Film {number} (2001).mkv" for number in range(20)))
        house.scan()
        before = house.files()
        subprocess.run(["umount", str(disk)], check=True)
        for number in range(8):
            house.films.remove(f"Film {number} (1999).mkv")
        report = films(house.scan())
        assert (report.removed, house.files()) == (0, before)
        assert films(house.scan()).removed == 8


@pytest.mark.parametrize("how", ["new, by a clock that was ahead", "moved from another library"])
def test_a_large_part_is_one_of_what_was_there_and_not_of_what_came(house: House, how: str) -> None:
    house.add_films()
    house.films.put(*(f"Film {number} (1999).mkv" for number in range(12)))
    house.films.put(*(f"../more/Film {number} (1950).mkv" for number in range(30)))
    house.scan()
    for number in range(11):
        house.films.remove(f"Film {number} (1999).mkv")
    if how == "moved from another library":
        for number in range(29):
            house.films.move(f"../more/Film {number} (1950).mkv", f"Film {number} (1950).mkv")
    else:
        house.films.put(*(f"Film {number} (1949).mkv" for number in range(29)))
        with house.catalog.session() as session:
            ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
            session.query(Library).update({"last_scanned": ahead})
    assert films(house.scan()).removed == 0
    assert films(house.scan()).removed == 11


@on_both_databases
def test_what_a_clock_that_was_ahead_has_marked_as_missing_is_removed_by_the_next_scan(
    house: House,
) -> None:
    house.films.put(*(f"Film {number} (1999).mkv" for number in range(12)))
    house.scan()
    for number in range(11):
        house.films.remove(f"Film {number} (1999).mkv")
    house.scan()
    with house.catalog.session() as session:
        ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
        session.query(MediaFile).update({"missing_since": ahead}, synchronize_session=False)
        session.query(MediaFile).filter_by(path="Film 11 (1999).mkv").update(
            {"missing_since": None}
        )
    assert films(house.scan()).removed == 11


def test_a_stray_file_in_the_place_of_a_disk_below_the_root_keeps_its_records(
    house: House,
) -> None:
    house.films.put("Heat (1995).mkv")
    with mounted(house.films.root / "Disk 2") as disk:
        house.films.put("Disk 2/Ran (1985).mkv", "Disk 2/Alien (1979)/Alien (1979).mkv")
        house.scan()
        before = house.files()
        subprocess.run(["umount", str(disk)], check=True)
        house.films.put("Disk 2/Stray (2001).mkv")
        for _ in range(2):
            house.films.put("Disk 2/Stray (2001).en.srt", text=str(_))
            assert films(house.scan()).removed == 0
            assert before.items() <= house.files().items()


def test_an_offline_disk_is_one_problem_however_many_folders_it_has(house: House) -> None:
    house.films.put("Heat (1995).mkv")
    with mounted(house.films.root / "Disk 2") as disk:
        house.films.put(*(f"Disk 2/Film {number} (1999)/a.mkv" for number in range(30)))
        house.scan()
        before = house.files()
        subprocess.run(["umount", str(disk)], check=True)
        report = films(house.scan())
    reason = f"the disk that was mounted on {disk} is not there; 30 records kept"
    assert [astuple(problem) for problem in report.problems] == [("Disk 2", reason)]
    assert house.files() == before


def test_what_an_offline_disk_costs_grows_as_its_folders_do() -> None:
    """Counted, not timed: how often a path is looked at for each file that is not there."""
    reach = offline.Reach("/films")
    away = reach._away = Counting()
    for number in range(2000):
        away[f"disk/{number}"] = None
    for number in range(2000):
        assert reach.keeps(f"disk/{number}/a.mkv")
    assert away.asked <= 3 * 2000


class Counting(dict[str, None]):
    """Counts how often it is asked."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self.asked += 1
            yield key


@contextmanager
def as_nobody(house: House) -> Iterator[None]:
    """Become somebody who owns the libraries and the catalog, and may read little else."""
    base = house.films.root.parent
    if catalog := house.catalog.sqlite_file:
        Path(catalog).parent.chmod(0o777)
        for lock in Path(catalog).parent.glob("*.lock"):
            lock.unlink()
    for path in [base, *base.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for parent in base.parents:  # pytest's folders, and those of its workers, are root's alone
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o711)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_offline_disk_or_folder_that_may_not_be_read_keeps_its_records(filled: House) -> None:
    before = filled.files()
    secret = filled.films.root / "Heat (1995)"
    with as_nobody(filled):
        secret.chmod(0)
        filled.shows.root.chmod(0)
        report = filled.scan()
    assert filled.files() == before
    assert films(report).online
    assert [astuple(problem) for problem in films(report).problems] == [
        ("Heat (1995)", "Permission denied")
    ]
    assert report.libraries[1].offline_reason == "Permission denied"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_offline_disk_whose_root_cannot_even_be_looked_at_keeps_its_records(filled: House) -> None:
    """As when a network disk has gone stale: asking whether the root is there fails."""
    before = filled.files()
    mount = filled.films.root.with_name("mount")
    mount.mkdir()
    filled.films.root.rename(mount / "films")
    filled.films.root.symlink_to(mount / "films")
    filled.shows.put("Dark/Season 1/Dark S01E03.mkv")
    with as_nobody(filled):
        mount.chmod(0)
        report = filled.scan()
        mount.chmod(0o700)
    assert films(report).offline_reason == "Permission denied"
    assert before.items() <= filled.files().items()
    assert report.libraries[1].new == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_file_that_may_not_be_read_is_probed_once_it_may(house: House) -> None:
    house.films.put("Heat (1995).mkv", "Ran (1985).mkv")
    with as_nobody(house):
        (house.films.root / "Heat (1995).mkv").chmod(0)
        house.scan()
        assert films(house.scan()).probed == 1
        (house.films.root / "Heat (1995).mkv").chmod(0o600)
        assert films(house.scan()).problems == ()
        assert films(house.scan()).probed == 0
    heat = house.files()["Heat (1995).mkv"]
    assert heat["streams"]
    assert heat["probe_error"] is None


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ESTALE, "Stale file handle"), av.error.ExitError(1, "Immediate exit requested")],
)
def test_a_file_whose_disk_fails_while_it_is_probed_is_probed_again(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    house.films.put("Heat (1995).mkv")
    monkeypatch.setattr("haas_media.probe.streams.open_input", fail)
    assert films(house.scan()).problems[0].path == "Heat (1995).mkv"
    monkeypatch.undo()
    report = films(house.scan())
    assert (report.probed, report.problems) == (1, ())


def test_a_damaged_file_is_probed_again_on_request_alone(house: House) -> None:
    """One that was still written, at its full size, may be whole by then with the same time."""
    whole = house.films.clip.read_bytes()
    house.films.put("Heat (1995).mkv", text=whole[:200] + bytes(len(whole) - 200))
    file = house.films.root / "Heat (1995).mkv"
    time = file.stat().st_mtime_ns
    house.scan()
    assert films(house.scan()).probed == 0
    house.films.put("Heat (1995).mkv")
    os.utime(file, ns=(time, time))
    assert films(house.scan(refresh_existing=True)).probed == 1
    assert house.files()["Heat (1995).mkv"]["probe_error"] is None
    assert films(house.scan(refresh_existing=True)).probed == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_an_nfo_file_that_may_not_be_read_is_read_once_it_may(house: House) -> None:
    for path in ("b/y.mkv", "a/x.mkv"):
        house.scan()
        house.films.put(path)
        house.films.put(f"{path[0]}/movie.nfo", text="<movie><title>Heat</title></movie>")
    with as_nobody(house):
        (house.films.root / "a/movie.nfo").chmod(0)
        assert [file.path for file in films(house.scan()).unmatched_files] == ["a/x.mkv"]
        (house.films.root / "b/movie.nfo").write_text("<movie><title>Ran</title></movie>")
        (house.films.root / "b/movie.nfo").chmod(0)
        report = films(house.scan())
        assert house.titles()["b/y.mkv"] == "Heat"  # what it was before
        assert [problem.path for problem in report.problems] == ["b/y.mkv"]
        assert [file.path for file in report.unmatched_files] == ["a/x.mkv"]
        for folder in ("a", "b"):
            (house.films.root / folder / "movie.nfo").chmod(0o600)
        house.scan()
        assert house.titles() == {"a/x.mkv": "Heat", "b/y.mkv": "Ran"}
        assert films(house.scan()).parsed == 0


@pytest.mark.parametrize("nfo", ["movie.nfo", "a.nfo"])
def test_an_nfo_file_that_is_a_link_to_a_disk_that_is_away_is_still_believed(
    house: House, nfo: str
) -> None:
    disk = house.films.root.with_name("disk")
    disk.mkdir()
    (disk / nfo).write_text("<movie><title>Ran</title><year>1985</year></movie>")
    house.films.put("x/a.mkv")
    (house.films.root / "x" / nfo).symlink_to(disk / nfo)
    house.scan()
    assert house.titles() == {"x/a.mkv": "Ran (1985)"}
    disk.rename(disk.with_name("away"))
    for _ in range(2):
        report = films(house.scan())
        assert house.titles() == {"x/a.mkv": "Ran (1985)"}
        assert [problem.path for problem in report.problems] == ["x/a.mkv"]
    (house.films.root / "x" / nfo).unlink()
    house.scan()
    assert house.titles() != {"x/a.mkv": "Ran (1985)"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_file_that_may_not_be_read_is_identified_and_reported(house: House) -> None:
    house.films.put("Heat (1995).mkv", "Ran (1985).mkv")
    with as_nobody(house):
        (house.films.root / "Heat (1995).mkv").chmod(0)
        report = house.scan()
    assert report.counts()["matched"] == 2
    assert [astuple(problem) for problem in films(report).problems] == [
        ("Heat (1995).mkv", "The file cannot be read: Permission denied.")
    ]
