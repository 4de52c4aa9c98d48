"""Change lists: spans of 14 days, pages of 100, ids that are null."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_tmdb import FakeTmdb

DAY = dt.date(2024, 5, 1)


def _later(days: int) -> dt.date:
    return DAY + dt.timedelta(days=days)


@pytest.mark.parametrize("kind", ["movie", "tv", "person"])
def test_all_pages_are_read(tmdb: FakeTmdb, connect, kind: str) -> None:
    tmdb.catalogue.list_changes(kind, [*range(1, 251), None], DAY)
    assert connect().changes(kind, DAY, _later(7)) == frozenset(range(1, 251))
    assert [seen.query["page"] for seen in tmdb.requests] == ["1", "2", "3"]


def test_a_page_that_knows_of_fewer_ends_nothing(
    tmdb: FakeTmdb, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([3, 2, 3])
    page = lambda *_: (200, {"results": [{"id": (n := next(told))}], "total_pages": n})  # noqa: E731
    monkeypatch.setattr(tmdb, "_changes", page)
    assert connect().changes("movie", DAY, DAY) == {2, 3}
    assert len(tmdb.requests) == 3


def test_a_longer_span_is_divided_and_misses_no_day(tmdb: FakeTmdb, connect) -> None:
    for day in range(41):
        tmdb.catalogue.list_changes("movie", [1000 + day], _later(day))
    assert connect().changes("movie", DAY, _later(40)) == frozenset(range(1000, 1041))
    assert len(tmdb.requests) == 3, "a span has 14 days at the most"
    assert {seen.status for seen in tmdb.requests} == {200}


def test_a_list_longer_than_wanted_is_left_after_its_first_page(tmdb: FakeTmdb, connect) -> None:
    tmdb.catalogue.list_changes("movie", range(1, 1001), DAY)
    assert connect().changes("movie", DAY, _later(1), most_pages=9) is None
    assert len(tmdb.requests) == 1
    assert connect().changes("movie", DAY, _later(1), most_pages=10) == frozenset(range(1, 1001))


def test_the_pages_of_all_spans_count_together(tmdb: FakeTmdb, connect) -> None:
    for day in (0, 20):
        tmdb.catalogue.list_changes("movie", range(1, 301), _later(day))
    assert connect().changes("movie", DAY, _later(21), most_pages=5) is None
    assert connect().changes("movie", DAY, _later(21), most_pages=6) is not None


def test_more_pages_than_tmdb_gives_are_too_many(tmdb: FakeTmdb, connect) -> None:
    tmdb.catalogue.list_changes("movie", range(1, 50_002), DAY)
    assert connect().changes("movie", DAY, DAY) is None
    assert len(tmdb.requests) == 1
