"""The client: what a scan, an addition and a refresh ask of TMDb."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from haas_media.providers.records import (
    Gone,
    Match,
    MovieRecord,
    NoMatch,
    PersonRecord,
    ProviderUnreachable,
    SeasonRecord,
    ShowRecord,
)
from haas_media.providers.tmdb import parsing
from haas_media.providers.tmdb.exchange import Exchange
from haas_media.providers.tmdb.fields import require_list
from haas_media.providers.tmdb.likeness import likeness
from haas_media.providers.tmdb.scoring import other_titles, weigh, without_country
from haas_media.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from haas_media.providers.records import RecordKind, TitleKind

# A change list covers at most this many days, and has at most this many pages.
_DAYS_PER_LIST = 14
_MOST_PAGES = 500
# Each costs a request, before a title is given up.
_ASKED_FOR_TITLES = 3


class TmdbClient(Exchange):
    """Reads TMDb's records. Safe to call from several threads at once.

    Every method may raise ProviderUnreachable, ProviderRefused and UnusableRecord; all but
    ``find_external`` also Gone.
    """

    def find(self, kind: TitleKind, title: str, year: int | None) -> Match | NoMatch:
        """Search for a title: one request; more, without the year, if that finds none."""
        if not title.strip():
            return NoMatch(Reason("nothing-to-search-for"))
        in_year: tuple[tuple[int, int | None], ...] = ()
        if year is not None:
            # TMDb's own filter lets a common title of that year into the first page at all.
            year_key = "year" if kind == "movie" else "first_air_date_year"
            found = weigh(kind, title, year, self._search(kind, title, {year_key: str(year)}))
            if isinstance(found, Match) or found.reason.code == "ambiguous":
                return found
            in_year = found.closest
        found = weigh(kind, title, year, self._search(kind, title, {}))
        if isinstance(found, Match) or found.reason.code == "ambiguous":
            return found
        closest = dict.fromkeys((*in_year, *found.closest))
        near = [
            tmdb_id
            for tmdb_id, of_year in closest
            if year is None or (of_year is not None and abs(of_year - year) <= 1)
        ]
        return self._by_other_titles(kind, title, near[:_ASKED_FOR_TITLES]) or found

    def _by_other_titles(self, kind: TitleKind, title: str, near: list[int]) -> Match | None:
        """Find the one that has this title elsewhere, or in another language."""
        hits = []
        for tmdb_id in near:
            try:
                read = self._read(f"/{kind}/{tmdb_id}", "alternative_titles,translations")
            except Gone:  # a search finds it for a while still
                continue
            if any(likeness(title, other) == 1.0 for other in other_titles(read)):
                hits.append(tmdb_id)
        return Match(hits[0]) if len(hits) == 1 else None

    def _search(self, kind: str, title: str, year: dict[str, str]) -> Mapping[str, Any]:
        # TMDb takes no longer query, and no file name has a longer title.
        query = {
            "query": without_country(title)[0][:250],
            "include_adult": "false",
            **year,
            **self._language,
        }
        try:
            answer = self._get(f"/search/{kind}", query)
        except Gone:
            # What is found may be nothing; the search itself is there at TMDb's.
            raise ProviderUnreachable(
                "what answers is not TMDb (404 to a search): see HAAS_TMDB_URL"
            ) from None
        require_list(answer, "results")
        return answer

    def find_external(self, kind: TitleKind, source: str, value: str) -> int | None:
        """Translate an ``imdb`` or ``tvdb`` id into a TMDb id: one request.

        An id that cannot be one asks nothing and is None.
        """
        shape = {"imdb": r"tt\d{1,12}", "tvdb": r"\d{1,12}"}.get(source)
        if shape is None:
            raise ValueError(f"an external id is of 'imdb' or 'tvdb', not of {source!r}")
        if not re.fullmatch(shape, value, re.ASCII):
            return None
        try:
            answer = self._get(f"/find/{value}", {"external_source": f"{source}_id"})
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
        return self._get(path, {**appended, **self._language})

    def changes(
        self, kind: RecordKind, start: dt.date, end: dt.date, *, most_pages: int | None = None
    ) -> frozenset[int] | None:
        """Return the ids of what changed from one day to another: one request a page of 100.

        Args:
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
            answer = self._get(f"/{kind}/changes", {**query, "page": str(page)})
            found, told = parsing.parse_changes(answer)
            ids |= found
            # Pages are cached each by itself: one that is older may know of fewer.
            pages = max(pages, told)
        return ids, page


def _spans(start: dt.date, end: dt.date) -> list[tuple[dt.date, dt.date]]:
    """Divide the days into spans that TMDb takes; each begins on the day the last one ended."""
    spans = []
    while True:
        last = min(end, start + dt.timedelta(days=_DAYS_PER_LIST))
        spans.append((start, max(start, last)))
        if last >= end:
            return spans
        start = last
