"""The client: what a scan, an addition and a refresh ask of TMDb."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Literal

from haas_media.providers.records import (
    Gone,
    Match,
    MovieRecord,
    NoMatch,
    PersonRecord,
    SeasonRecord,
    ShowRecord,
)
from haas_media.tmdb import parsing
from haas_media.tmdb.exchange import Exchange
from haas_media.tmdb.scoring import THRESHOLD, weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    import httpx

    from haas_media.tmdb.outage import Outage
    from haas_media.tmdb.retries import RetryPolicy

TMDB_URL = "https://api.themoviedb.org/3"

# A change list covers at most this many days, and has at most this many pages.
_DAYS_PER_LIST = 14
_MOST_PAGES = 500


class TmdbClient:
    """Reads TMDb's records; a ``Provider``. Safe to use from several threads.

    The token shows nowhere: not in ``repr``, errors, logs, nor in what ``around`` sees.

    Args:
        token: v4 read access token or v3 key, told apart by shape.
        url: of the API, with its version; a proxy or a local server in place of TMDb's own.
        requests_per_second: never exceeded in any second by this client, retries included.
        max_concurrent: requests under way at once.
        language: of titles and texts (``de-DE``); TMDb's default is ``en-US``.
        timeout: how long a connection, or the next byte of an answer, may take.
        transport: carries the requests, signed already; by default the network.
        around: wraps the transport that signs, for a layer that observes requests and must not
            see the credentials, such as a tracing transport.
        retries: how often and when a request is tried again.
        outage: when to stop trying.

    Raises:
        ValueError: the token or the URL cannot be one.
    """

    def __init__(
        self,
        token: str,
        url: str = TMDB_URL,
        *,
        requests_per_second: float = 20,
        max_concurrent: int = 4,
        language: str | None = None,
        timeout: dt.timedelta = dt.timedelta(seconds=15),
        transport: httpx.BaseTransport | None = None,
        around: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
        retries: RetryPolicy | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._language = {"language": language} if language else {}
        self._exchange = Exchange(
            token,
            url,
            requests_per_second=requests_per_second,
            max_concurrent=max_concurrent,
            timeout=timeout,
            transport=transport,
            around=around,
            retries=retries,
            outage=outage,
        )

    def __repr__(self) -> str:
        return f"TmdbClient({self._exchange})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls that wait in other threads end with an error."""
        self._exchange.close()

    @property
    def requests_made(self) -> int:
        """Requests sent so far, retries included."""
        return self._exchange.made

    def find_movie(self, title: str, year: int | None) -> Match | NoMatch:
        """Search for a movie: one request; a second, without the year, if that finds none."""
        return self._find("movie", "year", title, year)

    def find_show(self, title: str, year: int | None) -> Match | NoMatch:
        """Search for a show: one request; a second, without the year, if that finds none."""
        return self._find("tv", "first_air_date_year", title, year)

    def _find(
        self, kind: Literal["movie", "tv"], year_key: str, title: str, year: int | None
    ) -> Match | NoMatch:
        if not title.strip():
            return NoMatch("There is no title to search for")
        if year is not None:
            # TMDb's own filter lets a common title of that year into the first page at all.
            found = weigh(kind, title, year, self._search(kind, title, {year_key: str(year)}))
            if isinstance(found, Match) or _is_ambiguous(found):
                return found
        return weigh(kind, title, year, self._search(kind, title, {}))

    def _search(self, kind: str, title: str, year: dict[str, str]) -> Mapping[str, Any]:
        # TMDb takes no longer query, and no file name has a longer title.
        query = {"query": title[:250], "include_adult": "false", **year, **self._language}
        return self._exchange.get(f"/search/{kind}", query)

    def find_external(self, kind: Literal["movie", "tv"], source: str, value: str) -> int | None:
        """Translate an ``imdb`` or ``tvdb`` id into a TMDb id: one request.

        An id that cannot be one asks nothing and is None.
        """
        shape = {"imdb": r"tt\d{1,12}", "tvdb": r"\d{1,12}"}.get(source)
        if shape is None:
            raise ValueError(f"an external id is of 'imdb' or 'tvdb', not of {source!r}")
        if not re.fullmatch(shape, value, re.ASCII):
            return None
        try:
            answer = self._exchange.get(f"/find/{value}", {"external_source": f"{source}_id"})
        except Gone:
            return None
        return parsing.parse_found(answer, kind)

    def movie(self, tmdb_id: int) -> MovieRecord:
        """Read a movie with its credits: one request."""
        return parsing.parse_movie(self._read(f"/movie/{tmdb_id:d}", "credits"), tmdb_id)

    def show(self, tmdb_id: int) -> ShowRecord:
        """Read a show with the credits of all its seasons and its external ids: one request."""
        answer = self._read(f"/tv/{tmdb_id:d}", "aggregate_credits,credits,external_ids")
        return parsing.parse_show(answer, tmdb_id)

    def season(self, tmdb_id: int, number: int) -> SeasonRecord:
        """Read a season with its episodes and their credits: one request."""
        answer = self._read(f"/tv/{tmdb_id:d}/season/{number:d}")
        return parsing.parse_season(answer, tmdb_id, number)

    def person(self, person_id: int) -> PersonRecord:
        """Read a person: one request."""
        return parsing.parse_person(self._read(f"/person/{person_id:d}"), person_id)

    def _read(self, path: str, append: str = "") -> Mapping[str, Any]:
        appended = {"append_to_response": append} if append else {}
        return self._exchange.get(path, {**appended, **self._language})

    def changes(
        self,
        kind: Literal["movie", "tv", "person"],
        start: dt.date,
        end: dt.date,
        *,
        most_pages: int | None = None,
    ) -> frozenset[int] | None:
        """Return the ids of what changed from one day to another: one request a page of 100.

        Args:
            kind: of title, or people.
            start: first day, in UTC.
            end: last day, in UTC; TMDb takes 14 days at once, longer spans are divided.
            most_pages: give up when the list has more pages.

        Returns:
            None when the list is too long to be read: then anything may have changed.
        """
        ids: set[int] = set()
        pages_read = 0
        for span in _spans(start, end):
            left = None if most_pages is None else most_pages - pages_read
            found = self._changes_of_span(kind, span, left)
            if found is None:
                return None
            ids |= found[0]
            pages_read += found[1]
        return frozenset(ids)

    def _changes_of_span(
        self, kind: str, span: tuple[dt.date, dt.date], most_pages: int | None
    ) -> tuple[set[int], int] | None:
        limit = _MOST_PAGES if most_pages is None else min(_MOST_PAGES, most_pages)
        query = {"start_date": span[0].isoformat(), "end_date": span[1].isoformat()}
        ids: set[int] = set()
        page, pages = 0, 1
        while page < pages:
            if pages > limit:
                return None
            page += 1
            answer = self._exchange.get(f"/{kind}/changes", {**query, "page": str(page)})
            found, pages = parsing.parse_changes(answer)
            ids |= found
        return ids, page


def _is_ambiguous(found: NoMatch) -> bool:
    return bool(found.candidates) and found.candidates[0].score >= THRESHOLD


def _spans(start: dt.date, end: dt.date) -> list[tuple[dt.date, dt.date]]:
    """Divide the days into spans that TMDb takes; each begins on the day the last one ended."""
    spans = []
    while True:
        last = min(end, start + dt.timedelta(days=_DAYS_PER_LIST))
        spans.append((start, max(start, last)))
        if last >= end:
            return spans
        start = last
