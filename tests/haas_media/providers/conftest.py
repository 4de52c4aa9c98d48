from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_tmdb import connected, recorded_directory
from tests.parts import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from haas_media.providers.tmdb import TmdbClient
    from tests.fake_tmdb import FakeTmdb

V3_KEY = "0123456789abcdef0123456789abcdef"
V4_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJzZWNyZXQifQ.c2VjcmV0LXNpZ25hdHVyZQ"


@pytest.fixture
def connect(tmdb: FakeTmdb) -> Iterator[Callable[..., TmdbClient]]:
    """Make clients of the local TMDb that retry after milliseconds."""
    with ExitStack() as stack:

        def make(token: str = V4_TOKEN, **options: Any) -> TmdbClient:
            return stack.enter_context(connected(tmdb.url, token, **options))

        yield make


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Where TMDb's recorded answers are; without them the test is skipped, but not in CI."""
    directory = recorded_directory()
    require("a record of TMDb's answers", directory, "set HAAS_TEST_DATA to the folder with tmdb/")
    assert directory is not None
    return directory
