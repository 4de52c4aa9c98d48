"""What a file is by its name and the NFO files around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.identification.files import Identifier

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.identification import Identity

EPISODE = "<episodedetails><season>{}</season><episode>{}</episode></episodedetails>"


def identified(root: Path, folder: str, name: str, *nfos: str) -> Identity:
    root_nfo = {"": "tvshow.nfo"} if (root / "tvshow.nfo").exists() else {}
    return Identifier(root, "tv", root_nfo).folder(folder, [name], nfos, [name])[name]


def test_a_show_file_in_the_root_names_no_show_that_has_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tvshow.nfo").write_text("<tvshow><title>Wrong</title></tvshow>")
    assert identified(tmp_path, "Right/Season 1", "S01E01.mkv").title == "Right"
    assert identified(tmp_path, "Season 1", "S01E01.mkv").title == "Wrong"


def test_an_nfo_file_takes_no_episode_away_and_none_is_of_two_seasons(tmp_path: Path) -> None:
    (tmp_path / "Show").mkdir()
    (tmp_path / "Show" / "S01E01E02E03.nfo").write_text(EPISODE.format(1, 3))
    (tmp_path / "Show" / "s00e01s01e03.nfo").write_text(EPISODE.format(0, 1) + EPISODE.format(1, 4))
    whole = identified(tmp_path, "Show", "S01E01E02E03.mkv", "S01E01E02E03.nfo")
    assert (whole.season, whole.episodes, len(whole.episode_details)) == (1, (1, 2, 3), 1)
    two = identified(tmp_path, "Show", "s00e01s01e03.mkv", "s00e01s01e03.nfo")
    assert two.reason is not None
    assert two.reason.code == "several-seasons"
    last = "<episodenumberend>7</episodenumberend>"  # as Jellyfin has it
    jellyfins = EPISODE.format(1, 6).replace("<season>", f"{last}<season>")
    (tmp_path / "Ferry").mkdir()
    (tmp_path / "Ferry" / "06.nfo").write_text(jellyfins)
    both = identified(tmp_path, "Ferry", "06.mkv", "06.nfo")
    assert (both.season, both.episodes, len(both.episode_details)) == (1, (6, 7), 2)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Show Season 2.mkv", "whole-season"),
        ("Show - 05.5.mkv", "between-episodes"),
        ("Show S01E01.5.mkv", "between-episodes"),
        ("Show S01E02-S02E01.mkv", "several-seasons"),
    ],
)
def test_what_is_no_episode_is_said_without_none(tmp_path: Path, name: str, code: str) -> None:
    found = identified(tmp_path, "Show", name)
    assert found.reason is not None
    assert found.reason.code == code
    assert "None" not in found.reason


def test_the_country_goes_with_the_show_s_name(tmp_path: Path) -> None:
    assert identified(tmp_path, "Ghosts (US)/Season 1", "S01E01.mkv").title == "Ghosts (US)"
