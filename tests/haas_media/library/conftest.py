from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from haas_media.providers.tmdb import RetryPolicy, TmdbClient

from .contents import Librarian

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.catalog.opening import Catalog
    from tests.fake_tmdb import FakeTmdb

QUICK = RetryPolicy(first_wait=dt.timedelta(milliseconds=2), longest_wait=dt.timedelta(0, 0.02))


@pytest.fixture
def provider(tmdb: FakeTmdb) -> Iterator[TmdbClient]:
    with TmdbClient("token", tmdb.url, requests_per_second=1000, retries=QUICK) as client:
        yield client


@pytest.fixture
def librarian(catalog: Catalog, provider: TmdbClient) -> Librarian:
    return Librarian(catalog, provider)
