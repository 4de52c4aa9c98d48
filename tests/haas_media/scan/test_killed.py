"""A scan that is killed at any instant, and run again, ends as one that was never disturbed."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.haas_media.scan.scanning import Scanner
from tests.haas_media.scan.world import World, change, make_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import Databases

INSTANTS = 20


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, clip: Path, databases: Databases
) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("killed"), clip, databases) as world:
        yield world


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


@pytest.fixture(scope="module")
def scanner(world: World) -> Iterator[Scanner]:
    with Scanner(world.base, world.tmdb.url) as scanner:
        yield scanner


@pytest.mark.parametrize("which", ["first_scan", "second_scan"])
def test_killed_at_random_statements_it_ends_in_the_same_catalog(
    world: World, scanner: Scanner, which: str, request: pytest.FixtureRequest
) -> None:
    new_catalog: Callable[[], str] = request.getfixturevalue(which)
    url = new_catalog()
    scanner.begin(url)
    statements = scanner.end()["statements"]
    expected = world.scan(url)
    assert len(expected["files"]) > 25
    assert statements > 3 * INSTANTS

    for kill_at in sorted(random.Random(which).sample(range(1, statements + 1), INSTANTS)):
        url = new_catalog()
        scanner.begin(url, kill_at)
        assert scanner.end() == {"signal": signal.SIGKILL}
        assert world.scan(url) == expected, f"after a kill at statement {kill_at} of {statements}"


def test_killed_again_and_again_it_ends_in_the_same_catalog(
    world: World, scanner: Scanner, second_scan: Callable[[], str]
) -> None:
    url = second_scan()
    expected = world.scan(url)
    url = second_scan()
    instants = random.Random(0)
    for _ in range(INSTANTS // 2):
        process = scanner.begin(url)
        time.sleep(instants.uniform(0, 0.5))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        assert "error" not in scanner.end()
    assert world.scan(url) == expected
