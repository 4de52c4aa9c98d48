"""Catalogs, and a local TMDb, for tests of every room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases import catalog, database_url, databases, new_postgres, postgres, sqlite
from tests.fake_tmdb import FakeTmdb

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["catalog", "database_url", "databases", "new_postgres", "postgres", "sqlite"]


@pytest.fixture
def tmdb() -> Iterator[FakeTmdb]:
    with FakeTmdb() as fake:
        yield fake
