"""Scans whose provider answers late, or with what no title has."""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.library.remove import remove_from_library
from tests.fake_tmdb import FakeTmdb
from tests.haas_media.scan.scanning import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.tmdb import TmdbClient
    from tests.haas_media.scan.shelf import House

FILM, EPISODE = "The Matrix (1999).mkv", "Dark/Dark S01E01.mkv"


@pytest.fixture
def tmdb() -> Iterator[FakeTmdb]:
    with FakeTmdb() as fake:
        fake.catalogue.add_movie(603, "The Matrix", "1999-03-31")
        fake.catalogue.add_show(70523, "Dark", "2017-12-01", seasons={1: ["Secrets"]})
        yield fake


@pytest.fixture
def client(tmdb: FakeTmdb) -> Iterator[TmdbClient]:
    with connected(tmdb.url) as opened:
        yield opened


class _Slow:
    """Answers only after the title has been removed from the library."""

    def __init__(self, client: TmdbClient, house: House) -> None:
        self._client = client
        self._house = house

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def movie(self, tmdb_id: int) -> Any:
        record = self._client.movie(tmdb_id)
        remove_from_library(self._house.catalog, "movie", tmdb_id)
        return record

    def show(self, tmdb_id: int) -> Any:
        record = self._client.show(tmdb_id)
        remove_from_library(self._house.catalog, "tv", tmdb_id)
        return record


def test_a_title_that_is_removed_while_it_is_asked_for_does_not_come_back(
    house: House, client: TmdbClient
) -> None:
    house.films.put(FILM)
    house.shows.put(EPISODE)
    house.scan(provider=client)
    assert house.known() == ["Dark (2017)", "The Matrix (1999)"]
    house.scan(provider=_Slow(client, house), refresh_existing=True)
    assert house.known() == []
    assert {file["state"] for file in house.files().values()} == {"unmatched"}


def test_a_title_as_long_as_a_page_is_a_title(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    some = random.Random(1)
    page = "".join(some.choices(string.ascii_letters + string.digits, k=8000))
    tmdb.catalogue.add_movie(604, page, "1999-03-31")
    house.films.put(FILM, "x {tmdb-604}.mkv")
    for _ in range(2):
        assert house.scan(provider=client).counts()["matched"] == 2
        assert set(house.known()) == {f"{page} (1999)", "The Matrix (1999)"}
