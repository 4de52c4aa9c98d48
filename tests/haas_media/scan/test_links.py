"""Links to folders: each file is on record once, in whatever order a folder lists them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from haas_media.scan import walk as walking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.haas_media.scan.shelf import House


@pytest.fixture(params=["as they are", "backwards"])
def _order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """List folders in one order and in the other."""
    real = os.scandir

    class Listed:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            self._entries = iter(found[::-1] if request.param == "backwards" else found)

        def __enter__(self) -> Listed:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            return self._entries

        def __next__(self) -> os.DirEntry[str]:
            return next(self._entries)

    monkeypatch.setattr(walking.os, "scandir", Listed)


@pytest.mark.usefixtures("_order")
@pytest.mark.parametrize(("first", "second"), [("all", "new"), ("new", "all"), ("a", "b")])
def test_a_second_link_to_a_part_of_the_same_loses_nothing(
    house: House, first: str, second: str
) -> None:
    outside = house.films.root.with_name("ext")
    to = {"all": outside, "new": outside / "sub", "a": outside, "b": outside}
    house.films.put("../ext/Heat (1995).mkv", "../ext/sub/Ran (1985).mkv")
    (house.films.root / first).symlink_to(to[first])
    house.scan()
    before = {file["id"]: file["is"] for file in house.files().values()}
    (house.films.root / second).symlink_to(to[second])
    report = house.scan()
    after = {file["id"]: file["is"] for file in house.files().values()}
    assert report.counts()["removed"] == 0
    assert before.items() <= after.items()
    assert sorted(after.values()) == ["Heat (1995)", "Ran (1985)"]
    assert house.scan().counts()["unchanged"] == 2


def test_a_link_into_another_library_is_left_out_and_said(house: House) -> None:
    house.shows.put("Dark/Dark S01E01.mkv")
    (house.films.root / "Series").symlink_to(house.shows.root / "Dark")
    house.films.put("Heat (1995).mkv")
    report = house.scan()
    assert house.titles() == {
        "Dark/Dark S01E01.mkv": "Dark S01E01",
        "Heat (1995).mkv": "Heat (1995)",
    }
    (problem,) = report.libraries[0].problems
    assert problem.path == "Series"
    assert "library 'Shows'" in problem.reason


def test_a_link_to_more_than_another_library_leaves_that_out(house: House) -> None:
    outside = house.films.root.with_name("ext")
    outside.mkdir()
    house.shows.root.rename(outside / "shows")
    shows = house.settings.libraries[1].model_copy(update={"path": outside / "shows"})
    house.with_settings(libraries=(house.settings.libraries[0], shows))
    house.films.put("../ext/shows/Dark S01E01.mkv", "../ext/Heat (1995).mkv")
    (house.films.root / "More").symlink_to(outside)
    house.scan()
    assert sorted(house.files()) == ["Dark S01E01.mkv", "More/Heat (1995).mkv"]
