"""Catalogs for tests of every room, and for how long properties are tested."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.databases import catalog, database_url, databases, new_postgres, postgres, sqlite
from tests.fake_tmdb import FakeTmdb

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["catalog", "database_url", "databases", "new_postgres", "postgres", "sqlite"]

CHAOS = os.environ.get("HAAS_CHAOS") == "1"

settings.register_profile(
    "haas",
    max_examples=2000 if CHAOS else 30,
    # Neither says anything but how busy the machine is.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("haas")


@pytest.fixture
def tmdb() -> Iterator[FakeTmdb]:
    with FakeTmdb() as fake:
        yield fake
