"""Two scans at once on one catalog: no duplicate, no deadlock, no error."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.catalog import open_catalog
from tests.haas_media.scan.scanning import Scanner, contents
from tests.haas_media.scan.world import World, change, make_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import Sqlite


@pytest.fixture
def world(tmp_path: Path, clip: Path, sqlite: Sqlite) -> Iterator[World]:
    """Give a world whose catalogs to compare with are on SQLite."""
    with make_world(tmp_path, clip, sqlite) as world:
        yield world


def scan_at_once(world: World, url: str, how_many: int) -> list[dict[str, Any]]:
    """Let several processes scan at the same time; return what became of them."""
    with ExitStack() as stack:
        scanners = [
            stack.enter_context(Scanner(world.base, world.tmdb.url)) for _ in range(how_many)
        ]
        for scanner in scanners:
            scanner.begin(url)
        return [scanner.end() for scanner in scanners]


def test_two_scans_at_once_leave_what_one_leaves(world: World, database_url: str) -> None:
    alone = world.databases.migrated()
    expected = world.scan(alone)
    for what in ("first", "changed"):
        for ended in scan_at_once(world, database_url, 2):
            assert "error" not in ended, what
            assert ended["counts"]["found"] == len(expected["files"])
        with open_catalog(database_url) as catalog:
            assert contents(catalog) == expected, what
        if what == "first":
            change(world)
            expected = world.scan(alone)


def test_four_scans_at_once_on_postgresql(world: World, new_postgres: Callable[[], str]) -> None:
    expected = world.scan(world.databases.migrated())
    url = new_postgres()
    assert all("counts" in ended for ended in scan_at_once(world, url, 4))
    with open_catalog(url) as catalog:
        assert contents(catalog) == expected
