"""Scans at once, and scans that are killed at any instant: they end as one that is left alone."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from haas_media.catalog import open_catalog
from tests.chaos import CHAOS
from tests.databases import on_both_databases
from tests.haas_media.scan.scanning import Scanner, contents
from tests.haas_media.scan.world import World, change, make_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import Databases

INSTANTS = 20 if CHAOS else 3

pytestmark = on_both_databases


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, clip: Path, databases: Databases
) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("world"), clip, databases) as world:
        yield world


@pytest.fixture(scope="module")
def scanner(world: World) -> Iterator[Scanner]:
    with Scanner(world.base, world.tmdb.url) as scanner:
        yield scanner


@pytest.fixture(scope="module")
def first_scan(databases: Databases) -> Callable[[], str]:
    """Return how to make a catalog for a first scan: from nothing, migrations included."""
    return databases.new


@pytest.fixture(scope="module")
def second_scan(world: World, databases: Databases) -> Callable[[], str]:
    """Return how to make catalogs as they were before the libraries changed."""
    before = databases.migrated()
    world.scan(before)
    change(world)
    return lambda: databases.copy(before)


@pytest.fixture(scope="module", params=["first_scan", "second_scan"])
def new_catalog(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Return how to make catalogs for one of the two, in this order."""
    made: Callable[[], str] = request.getfixturevalue(request.param)
    return made


def test_scans_at_once_leave_what_one_leaves(
    world: World, scanner: Scanner, new_catalog: Callable[[], str]
) -> None:
    expected = world.scan(new_catalog())
    url = new_catalog()
    scanner.begin(url, at_once=4)
    for ended in scanner.end():
        assert "error" not in ended
        assert ended["counts"]["found"] == len(expected["media_files"])
    with open_catalog(url) as catalog:
        assert contents(catalog) == expected


def test_killed_at_any_statement_it_ends_in_the_same_catalog(
    world: World, scanner: Scanner, new_catalog: Callable[[], str]
) -> None:
    url = new_catalog()
    scanner.begin(url)
    (undisturbed,) = scanner.end()
    expected = world.scan(url)
    assert len(expected["media_files"]) > 25
    share = undisturbed["statements"] // INSTANTS
    assert share > 3

    chance = random.Random(1)
    for instant in range(INSTANTS):
        kill_at = instant * share + chance.randint(1, share)
        url = new_catalog()
        scanner.begin(url, kill_at=kill_at)
        assert scanner.end() == [{"signal": signal.SIGKILL}]
        assert world.scan(url) == expected, f"after a kill at statement {kill_at}"


def test_killed_again_and_again_it_ends_in_the_same_catalog(
    world: World, scanner: Scanner, second_scan: Callable[[], str]
) -> None:
    expected = world.scan(second_scan())
    url = second_scan()
    instants = random.Random(0)
    for _ in range(INSTANTS):
        (process,) = scanner.begin(url)
        time.sleep(instants.uniform(0, 0.5))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        assert "error" not in scanner.end()[0]
    assert world.scan(url) == expected
