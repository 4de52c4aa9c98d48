"""Guessit is asked last, and only where it can find something."""

from __future__ import annotations

import subprocess
import sys

from haas_media.identification import identify


def test_a_film_whose_title_is_tangled_in_brackets_is_guessed(guessed: list[str]) -> None:
    identify("Film [a (b] c) HDCLUB.mkv", "movies")
    assert guessed == ["Film [a (b] c) HDCLUB"]


def test_an_episode_without_pattern_is_guessed_once(guessed: list[str]) -> None:
    found = identify("Show 7 by 9 tonight.mkv", "tv")
    assert found.reason
    assert guessed == ["Show 7 by 9 tonight"]


def test_a_name_without_numbers_or_full_of_them_is_not_guessed(guessed: list[str]) -> None:
    assert identify("Show/Pilot.mkv", "tv").reason
    assert identify("1,5,8,2,9,4,7,3,6,1,5.mkv", "tv").reason
    assert guessed == []


def test_text_that_is_no_name_is_not_read(guessed: list[str]) -> None:
    found = identify("1 " * 3000, "tv")
    assert found.reason
    assert "longer" in found.reason
    assert guessed == []


def test_common_names_are_read_without_importing_guessit() -> None:
    program = (
        "import sys; from haas_media.identification import identify;"
        "identify('Show (2010)/Season 1/S01E02.mkv', 'tv');"
        "identify('The Matrix (1999)/The.Matrix.1999.1080p.mkv', 'movies');"
        "sys.exit('guessit' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
