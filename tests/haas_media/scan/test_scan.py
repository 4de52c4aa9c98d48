"""What a scan does without a provider: everything from NFO files and names."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete

from haas_media.catalog.models import Folder, MediaFile
from haas_media.library.remove import remove_from_library
from haas_media.scan import walk as walking
from haas_media.settings import Library, SettingsError
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from haas_media.scan import ScanReport
    from tests.haas_media.scan.shelf import House

NOTHING = {"new": 0, "changed": 0, "moved": 0, "removed": 0, "parsed": 0, "probed": 0}


def did(report: ScanReport) -> dict[str, int]:
    counts = report.counts()
    return {name: counts[name] for name in NOTHING}


@pytest.fixture
def filled(house: House) -> House:
    """Two libraries that hold something."""
    house.films.put(
        "The Matrix (1999)/The Matrix (1999).mkv",
        "Heat.1995.1080p.BluRay.x264-GRP.mkv",
        "Heat.1995.1080p.BluRay.x264-GRP-trailer.mkv",
        "4f3a9c1b2d.mkv",
    )
    house.shows.put(
        "Dark/Season 1/Dark S01E01.mkv",
        "Dark/Season 1/Dark S01E02-E03.mkv",
        "Dark/Specials/Dark S00E01.mkv",
        "The Daily Show/The Daily Show 2010-05-23.mkv",
    )
    return house


@pytest.fixture
def scanned(filled: House) -> House:
    """The same, after a first scan."""
    filled.scan()
    return filled


@on_both_databases
def test_films_and_episodes_are_known_by_their_names(filled: House) -> None:
    report = filled.scan()
    assert filled.titles() == {
        "4f3a9c1b2d.mkv": "unmatched",
        "Dark/Season 1/Dark S01E01.mkv": "Dark S01E01",
        "Dark/Season 1/Dark S01E02-E03.mkv": "Dark S01E02 S01E03",
        "Dark/Specials/Dark S00E01.mkv": "Dark S00E01",
        "Heat.1995.1080p.BluRay.x264-GRP-trailer.mkv": "Heat (1995) (trailer)",
        "Heat.1995.1080p.BluRay.x264-GRP.mkv": "Heat (1995)",
        "The Daily Show/The Daily Show 2010-05-23.mkv": "The Daily Show",
        "The Matrix (1999)/The Matrix (1999).mkv": "The Matrix (1999)",
    }
    counts = report.counts()
    assert (counts["found"], counts["new"], counts["parsed"], counts["probed"]) == (8, 8, 8, 8)
    assert (counts["matched"], counts["unmatched"], counts["extras"]) == (6, 1, 1)
    (unmatched,) = report.libraries[0].unmatched_files
    assert unmatched.path == "4f3a9c1b2d.mkv"
    assert "Rename the file" in unmatched.reason


@on_both_databases
def test_an_unchanged_library_is_neither_parsed_nor_probed_again(scanned: House) -> None:
    before = scanned.files()
    report = scanned.scan()
    assert did(report) == NOTHING
    assert report.counts()["unchanged"] == report.counts()["found"] == 8
    assert "0 parsed, 0 probed" in report.to_markdown()
    assert scanned.files() == before


def test_every_folder_is_walked_once(filled: House, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = filled.films.root, filled.shows.root
    folders = {str(path) for root in roots for path in (root, *root.rglob("*")) if path.is_dir()}
    real, walked = os.scandir, Counter[str]()

    def counted(path: str) -> Any:
        walked[str(path).rstrip("/")] += 1
        return real(path)

    monkeypatch.setattr(walking.os, "scandir", counted)
    for what in ("first", "again"):
        walked.clear()
        filled.scan()
        assert walked == dict.fromkeys(folders, 1), what


def test_only_what_is_new_is_looked_at(scanned: House) -> None:
    scanned.films.put("The Matrix (1999)/The Matrix (1999) - 2160p.mkv")
    assert did(scanned.scan()) == NOTHING | {"new": 1, "parsed": 1, "probed": 1}


def test_a_changed_file_is_probed_again_and_keeps_its_place(scanned: House) -> None:
    path = "The Matrix (1999)/The Matrix (1999).mkv"
    before = scanned.files()[path]
    scanned.films.put(path, text=b"no longer a film")
    assert did(scanned.scan()) == NOTHING | {"changed": 1, "parsed": 1, "probed": 1}
    after = scanned.files()[path]
    assert (after["id"], after["title_id"]) == (before["id"], before["title_id"])
    assert before["streams"]
    assert after["streams"] is None
    assert "cannot be read as media" in after["probe_error"]


def test_a_file_of_the_same_size_with_another_time_has_changed(scanned: House) -> None:
    os.utime(scanned.films.root / "Heat.1995.1080p.BluRay.x264-GRP.mkv", ns=(1, 1))
    assert did(scanned.scan()) == NOTHING | {"changed": 1, "parsed": 1, "probed": 1}


@on_both_databases
def test_a_file_that_is_gone_loses_its_record_and_the_title_stays(scanned: House) -> None:
    scanned.films.remove("The Matrix (1999)")
    assert did(scanned.scan()) == NOTHING | {"removed": 1}
    assert "The Matrix (1999)/The Matrix (1999).mkv" not in scanned.files()
    assert "The Matrix (1999)" in scanned.known()


def test_a_file_that_is_gone_beside_others_loses_its_record(scanned: House) -> None:
    scanned.shows.remove("Dark/Season 1/Dark S01E01.mkv")
    assert did(scanned.scan()) == NOTHING | {"removed": 1}
    assert did(scanned.scan()) == NOTHING


def test_several_files_of_one_film_are_versions_of_one_title(house: House) -> None:
    house.films.put(
        "Heat (1995)/Heat (1995) - 1080p.mkv",
        "Heat (1995)/Heat (1995) - 2160p {edition-Director's Cut}.mkv",
        "heat.1995.dvdrip.avi",
    )
    house.scan()
    files = house.files()
    assert {file["is"] for file in files.values()} == {"Heat (1995)"}
    assert house.known() == ["Heat (1995)"]
    assert sorted(str(file["version"]) for file in files.values()) == ["1080p", "2160p", "None"]


def test_several_files_can_hold_one_episode(house: House) -> None:
    house.shows.put("Dark/Dark S01E01 720p.mkv", "Dark/Dark S01E01 1080p.mkv")
    house.scan()
    assert set(house.titles().values()) == {"Dark S01E01"}


def test_extras_and_samples_are_no_titles(house: House) -> None:
    house.films.put(
        "Heat (1995)/Heat (1995).mkv",
        "Heat (1995)/Extras/Making of.mkv",
        "Heat (1995)/Sample/heat-sample.mkv",
        "Heat (1995)/Heat (1995)-featurette.mkv",
    )
    report = house.scan()
    assert house.known() == ["Heat (1995)"]
    assert report.counts()["extras"] == 3
    extras = {file["is"] for file in house.files().values() if file["state"] == "extra"}
    assert extras == {"Heat (1995) (other)", "Heat (1995) (sample)", "Heat (1995) (featurette)"}


def test_an_episode_among_films_is_not_taken_for_a_film(house: House) -> None:
    house.films.put("Dark S01E01.mkv")
    (unmatched,) = house.scan().libraries[0].unmatched_files
    assert "kind 'tv'" in unmatched.reason
    assert house.known() == []


def test_files_beside_a_video_are_its_sidecars(house: House) -> None:
    folder = "The Matrix (1999)"
    house.films.put(f"{folder}/The Matrix (1999).mkv")
    for name in (
        "The Matrix (1999).en.srt",
        "The Matrix (1999).de.forced.ASS",
        "The Matrix (1999)-poster.jpg",
        "The Matrix (1999).commentary.ac3",
        "fanart.jpg",
        "movie.nfo",
        "notes.txt",
        ".hidden.srt",
    ):
        house.films.put(f"{folder}/{name}", text="x")
    house.scan()
    assert house.files()[f"{folder}/The Matrix (1999).mkv"]["sidecars"] == {
        "The Matrix (1999).en.srt": "subtitle",
        "The Matrix (1999).de.forced.ASS": "subtitle",
        "The Matrix (1999)-poster.jpg": "image",
        "The Matrix (1999).commentary.ac3": "audio",
        "fanart.jpg": "image",
        "movie.nfo": "nfo",
    }


def test_sidecars_go_to_the_video_whose_name_they_begin_with(house: House) -> None:
    house.shows.put("Dark/Dark S01E01.mkv", "Dark/Dark S01E01 part.mkv", "Dark/Dark S01E10.mkv")
    for name in ("Dark S01E01.en.srt", "Dark S01E01 part.srt", "Dark S01E10.srt", "poster.jpg"):
        house.shows.put(f"Dark/{name}", text="x")
    house.scan()
    files = house.files()
    assert files["Dark/Dark S01E01.mkv"]["sidecars"] == {"Dark S01E01.en.srt": "subtitle"}
    assert files["Dark/Dark S01E01 part.mkv"]["sidecars"] == {"Dark S01E01 part.srt": "subtitle"}
    assert files["Dark/Dark S01E10.mkv"]["sidecars"] == {"Dark S01E10.srt": "subtitle"}


def test_probing_tells_the_streams(scanned: House) -> None:
    file = scanned.files()["Heat.1995.1080p.BluRay.x264-GRP.mkv"]
    assert file["duration"] == pytest.approx(1.0, abs=0.2)
    assert [(s["index"], s["kind"], s.get("language")) for s in file["streams"]] == [
        (0, "video", None),
        (1, "audio", "eng"),
        (2, "audio", "ger"),
    ]
    assert (file["streams"][0]["width"], file["streams"][0]["height"]) == (64, 36)


def test_files_that_are_no_media_are_identified_and_reported(house: House) -> None:
    house.films.put("Heat (1995).mkv", text="")
    house.films.put("Ran (1985).mkv", text="junk " * 1000)
    report = house.scan()
    assert report.counts()["matched"] == 2
    problems = {problem.path: problem.reason for problem in report.libraries[0].problems}
    assert problems["Heat (1995).mkv"] == "The file is empty."
    assert "cannot be read as media" in problems["Ran (1985).mkv"]
    assert did(house.scan()) == NOTHING


def test_probing_can_be_switched_off_and_made_up_for(filled: House) -> None:
    filled.with_settings(scan=filled.settings.scan.model_copy(update={"probe": False}))
    assert filled.scan().counts()["probed"] == 0
    filled.with_settings(scan=filled.settings.scan.model_copy(update={"probe": True}))
    assert did(filled.scan()) == NOTHING | {"probed": 8}


def test_a_library_that_is_not_set_is_refused(house: House) -> None:
    with pytest.raises(SettingsError, match=r"no library 'Songs'.*Known: 'Films', 'Shows'"):
        house.scan(library="Songs")


def test_a_root_that_is_a_file_is_refused_before_anything_is_done(filled: House) -> None:
    filled.shows.remove("Dark")
    filled.shows.remove("The Daily Show")
    filled.shows.root.rmdir()
    filled.shows.root.write_text("not a folder")
    with pytest.raises(SettingsError, match=r"library 'Shows' is not a folder: .*shows"):
        filled.scan()
    assert filled.files() == {}


def test_a_library_inside_another_is_scanned_once(house: House) -> None:
    inner = house.films.root / "Series"
    house.with_settings(
        libraries=(
            house.settings.libraries[0],
            Library(title="Shows", kind="tv", path=inner),
        )
    )
    house.films.put("Heat (1995).mkv", "Series/Dark/Dark S01E01.mkv")
    house.scan()
    assert house.titles() == {
        "Dark/Dark S01E01.mkv": "Dark S01E01",
        "Heat (1995).mkv": "Heat (1995)",
    }


def test_hidden_and_system_folders_and_those_with_an_ignore_mark_are_left_out(
    house: House,
) -> None:
    house.films.put(
        ".Trash-1000/Heat (1995).mkv",
        "@eaDir/Heat (1995).mkv",
        "#recycle/Heat (1995).mkv",
        "@Recycle/Heat (1995).mkv",
        "@Recently-Snapshot/daily/Heat (1995).mkv",
        "Network Trash Folder/Heat (1995).mkv",
        "Mine/Heat (1995).mkv",
        "Ran (1985)/.Ran (1985).part.mkv",
        "Ran (1985)/Ran (1985).mkv",
    )
    house.scan()
    house.films.put("Mine/.ignore", text="")
    assert house.scan().counts()["removed"] == 1
    assert list(house.titles()) == ["Ran (1985)/Ran (1985).mkv"]


@on_both_databases
def test_a_library_that_changes_its_kind_is_identified_anew(house: House) -> None:
    house.films.put("Dark/Dark S01E01.mkv")
    house.scan()
    assert list(house.titles().values()) == ["unmatched"]
    films = house.settings.libraries[0].model_copy(update={"kind": "tv"})
    house.with_settings(libraries=(films,))
    house.scan()
    assert list(house.titles().values()) == ["Dark S01E01"]


@on_both_databases
def test_a_removed_titles_file_in_a_library_that_changes_its_kind_is_identified_anew(
    house: House,
) -> None:
    house.films.put("Dark {tmdb-70523}/Dark S01E01.mkv")
    house.scan()
    remove_from_library(house.catalog, "movie", 70523)
    films = house.settings.libraries[0].model_copy(update={"kind": "tv"})
    house.with_settings(libraries=(films,))
    assert house.scan().counts()["pending"] == 0
    assert list(house.titles().values()) == ["Dark S01E01"]


def test_a_library_whose_kind_changes_while_it_is_offline_keeps_its_records(house: House) -> None:
    house.films.put("Heat (1995).mkv")
    house.scan()
    before = house.files()
    root = house.films.root
    root.rename(root.with_name("away"))
    films = house.settings.libraries[0]
    house.with_settings(libraries=(films.model_copy(update={"kind": "tv"}),))
    house.scan()
    assert house.files() == before
    root.with_name("away").rename(root)
    house.scan()
    assert list(house.titles().values()) == ["unmatched"]


@on_both_databases
def test_a_library_that_is_given_another_title_keeps_its_records(scanned: House) -> None:
    before = scanned.files()
    films = scanned.settings.libraries[0].model_copy(update={"title": "Cinema"})
    scanned.with_settings(libraries=(films, scanned.settings.libraries[1]))
    report = scanned.scan()
    assert did(report) == NOTHING
    assert report.libraries[0].title == "Cinema"
    assert scanned.files() == before


def test_a_library_that_is_given_another_path_keeps_its_records(scanned: House) -> None:
    before = scanned.files()
    new = scanned.films.root.with_name("new place")
    scanned.films.root.rename(new)
    films = scanned.settings.libraries[0].model_copy(update={"path": new})
    scanned.with_settings(libraries=(films, scanned.settings.libraries[1]))
    assert did(scanned.scan()) == NOTHING
    assert scanned.files() == before


def test_a_library_that_is_taken_out_of_the_settings_keeps_its_records(scanned: House) -> None:
    before = scanned.files()
    scanned.with_settings(libraries=scanned.settings.libraries[1:])
    scanned.scan()
    assert scanned.files() == before


@on_both_databases
def test_a_record_that_was_lost_is_made_again(scanned: House) -> None:
    before = scanned.titles()
    with scanned.catalog.session() as session:
        for path in ("Heat.1995.1080p.BluRay.x264-GRP.mkv", "Dark/Season 1/Dark S01E01.mkv"):
            session.execute(delete(MediaFile).where(MediaFile.path == path))
    assert did(scanned.scan()) == NOTHING | {"new": 2, "parsed": 2, "probed": 2}
    assert scanned.titles() == before
    assert did(scanned.scan()) == NOTHING


def test_a_record_without_its_folder_is_found_again(scanned: House) -> None:
    before = scanned.files()
    with scanned.catalog.session() as session:
        session.execute(delete(Folder).where(Folder.path.in_(["", "Dark/Season 1"])))
    assert did(scanned.scan()) == NOTHING
    assert scanned.files() == before
