from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fake_tmdb import connected

from .contents import Librarian

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.tmdb import TmdbClient
    from tests.fake_tmdb import FakeTmdb


@pytest.fixture
def provider(tmdb: FakeTmdb) -> Iterator[TmdbClient]:
    with connected(tmdb.url) as client:
        yield client


@pytest.fixture
def librarian(catalog: Catalog, provider: TmdbClient) -> Librarian:
    return Librarian(catalog, provider)
