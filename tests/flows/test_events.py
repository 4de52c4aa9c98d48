"""The paths of an event: as they are while they are few, else their folders."""

from __future__ import annotations

import json
from pathlib import PurePath

import pytest

from flows.events import fold


def seasons(files: int, name: str = "Episode") -> list[str]:
    return [f"/tv/Show {n % 30}/Season {n % 7}/{name} {n}.mkv" for n in range(files)]


def test_few_paths_stay_as_they_are() -> None:
    paths = seasons(2_000)
    assert fold([*paths, *paths]) == sorted(paths)


@pytest.mark.parametrize(
    ("paths", "stand"),
    [
        (seasons(2_001), {f"/tv/Show {n % 30}/Season {n % 7}" for n in range(210)}),
        (seasons(1_000, "long" * 50), {f"/tv/Show {n % 30}/Season {n % 7}" for n in range(210)}),
        ([f"/films/Film {n}/Film {n}.mkv" for n in range(5_000)], {"/films"}),
        (
            ["/films/Heat.mkv", *(f"/films/a/b/{n}.mkv" for n in range(2_000))],
            {"/films/Heat.mkv", "/films/a/b"},
        ),
    ],
)
def test_of_too_many_their_folders_stand_for_them(paths: list[str], stand: set[str]) -> None:
    folded = fold(paths)
    assert set(folded) == stand
    assert all(any(PurePath(path).is_relative_to(each) for each in folded) for path in paths)
    assert len(json.dumps(folded)) <= 200_000


def test_a_name_that_is_not_utf_8_is_told_by_its_folder() -> None:
    assert fold(["/films/Am\udce9lie/a.mkv", "/films/Ran/\udcff.mkv"]) == ["/films", "/films/Ran"]
