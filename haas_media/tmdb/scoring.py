"""Weigh search results, and say when none of them is sure enough."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from haas_media.providers.records import Candidate, Match, NoMatch
from haas_media.tmdb.fields import date, integer, number, objects, text
from haas_media.tmdb.titles import likeness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# A candidate below this is not taken.
THRESHOLD = 0.8
# Without a year the title alone has to convince.
THRESHOLD_WITHOUT_YEAR = 0.9
# Two candidates closer than this are as good as each other; then popularity decides ...
_AS_GOOD = 0.04
# ... when it is this many times the other's.
_DOMINANT = 10.0
_DOMINANT_IN_YEAR = 3.0
_LISTED = 5

_YEAR_OFF_BY_ONE = 0.92
_YEAR_UNKNOWN = 0.88
# A year in the name of a show's folder may be that of a season.
_YEAR_OF_A_SEASON = 0.85
_YEAR_WRONG = 0.4
_COUNTRIES = {"us": "US", "usa": "US", "uk": "GB", "au": "AU", "nz": "NZ", "ca": "CA", "ie": "IE"}
_COUNTRY_AT_END = re.compile(r"^(.+?)[\s.]*[\s.(]([a-z]{2,3})\)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Result:
    tmdb_id: int
    titles: tuple[str, ...]
    year: int | None
    popularity: float
    votes: int
    countries: tuple[str, ...]


def weigh(
    kind: Literal["movie", "tv"], title: str, year: int | None, answer: Mapping[str, Any]
) -> Match | NoMatch:
    """Choose among the results of a search, or say why none is chosen.

    Args:
        kind: what was searched.
        title: as identified from a name.
        year: of release or of the first broadcast, where the name has one.
        answer: TMDb's answer to ``/search/movie`` or ``/search/tv``.
    """
    results = {result.tmdb_id: result for result in _read_results(kind, answer)}
    weighed = [(_weigh(kind, title, year, result), result) for result in results.values()]
    weighed.sort(key=lambda pair: (-pair[0].score, -pair[1].popularity, pair[0].tmdb_id))
    candidates = tuple(candidate for candidate, _ in weighed[:_LISTED])
    asked = _describe(title, year)
    if not weighed:
        return NoMatch(f"TMDb finds nothing called {asked}")
    best = weighed[0][0]
    if best.score < (THRESHOLD_WITHOUT_YEAR if year is None else THRESHOLD):
        close = f"the closest is {_describe(best.title, best.year)} with {best.score:.2f}"
        return NoMatch(f"TMDb has nothing that is surely {asked}: {close}", candidates)
    rivals = [pair for pair in weighed if best.score - pair[0].score < _AS_GOOD]
    chosen = _most_popular([result for _, result in rivals], year)
    if chosen is None:
        which = ", ".join(
            f"{_describe(c.title, c.year)} (tmdb-{c.tmdb_id})" for c, _ in rivals[:_LISTED]
        )
        missing = "add the year or an id tag" if year is None else "add an id tag"
        return NoMatch(f"TMDb has several titles called {asked}: {which}; {missing}", candidates)
    return Match(chosen.tmdb_id, candidates)


def _read_results(kind: str, answer: Mapping[str, Any]) -> Iterable[_Result]:
    names = ("title", "original_title") if kind == "movie" else ("name", "original_name")
    released = "release_date" if kind == "movie" else "first_air_date"
    for item in objects(answer, "results"):
        tmdb_id = integer(item, "id", least=1)
        titles = tuple(dict.fromkeys(filter(None, (text(item, name) for name in names))))
        if tmdb_id is None or not titles:
            continue
        day = date(item, released)
        countries = item.get("origin_country")
        yield _Result(
            tmdb_id=tmdb_id,
            titles=titles,
            year=day.year if day else None,
            popularity=max(0.0, number(item, "popularity") or 0.0),
            votes=integer(item, "vote_count") or 0,
            countries=tuple(map(str, countries)) if isinstance(countries, list) else (),
        )


def _weigh(kind: str, title: str, year: int | None, result: _Result) -> Candidate:
    alike = max(likeness(title, found) for found in result.titles)
    if (stem := _without_country(title, result.countries)) is not None:
        alike = max(alike, *(likeness(stem, found) for found in result.titles))
    factor, why = _weigh_year(kind, year, result.year, exact=alike == 1.0)
    return Candidate(
        tmdb_id=result.tmdb_id,
        title=result.titles[0],
        year=result.year,
        score=round(alike * factor, 4),
        why=f"title {alike:.2f}, {why}, popularity {result.popularity:g}",
    )


def _without_country(title: str, countries: tuple[str, ...]) -> str | None:
    """Return ``The Office`` for ``The Office (US)`` when the result is from there."""
    match = _COUNTRY_AT_END.match(title)
    if match and _COUNTRIES.get(match[2].lower()) in countries:
        return match[1]
    return None


def _weigh_year(
    kind: str, asked: int | None, found: int | None, *, exact: bool
) -> tuple[float, str]:
    if asked is None:
        return 1.0, "no year to compare"
    if found is None:
        return _YEAR_UNKNOWN, "year unknown"
    if found == asked:
        return 1.0, "same year"
    if abs(found - asked) == 1:
        return _YEAR_OFF_BY_ONE, "a year apart"
    if kind == "tv" and exact and asked > found:
        return _YEAR_OF_A_SEASON, "began before that year"
    return _YEAR_WRONG, f"{abs(found - asked)} years apart"


def _most_popular(rivals: list[_Result], year: int | None) -> _Result | None:
    """Return the one that people surely mean, when there is one."""
    first, *others = sorted(rivals, key=lambda r: (r.popularity, r.votes), reverse=True)
    if not others:
        return first
    times = _DOMINANT if year is None else _DOMINANT_IN_YEAR
    second = others[0]
    if first.popularity and first.popularity >= times * second.popularity:
        return first
    if first.popularity == second.popularity and first.votes >= times * max(10, second.votes):
        return first
    return None


def _describe(title: str, year: int | None) -> str:
    return f"“{title}” ({year})" if year else f"“{title}”"
