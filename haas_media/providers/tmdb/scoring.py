"""Weigh search results, and say when none of them is sure enough."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haas_media.providers.records import Match, NoMatch
from haas_media.providers.tmdb.fields import date, integer, nested, number, objects, text
from haas_media.providers.tmdb.likeness import likeness
from haas_media.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from haas_media.providers.records import TitleKind

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
_OTHER_COUNTRY = 0.95
_COUNTRIES = {"us": "US", "usa": "US", "uk": "GB", "au": "AU", "nz": "NZ", "ca": "CA", "ie": "IE"}
# Without brackets in capitals alone: `This Is Us` is called that.
_COUNTRY_AT_END = re.compile(r"^(.+?)[\s.]*(?:\((?i:([a-z]{2,3}))\)|[\s.]([A-Z]{2,3}))$")


@dataclass(frozen=True, slots=True)
class _Result:
    tmdb_id: int
    titles: tuple[str, ...]
    year: int | None
    popularity: float
    votes: int
    countries: tuple[str, ...]


def weigh(
    kind: TitleKind, title: str, year: int | None, answer: Mapping[str, Any]
) -> Match | NoMatch:
    """Choose among the results of a search, or say why none is chosen.

    Args:
        title: as identified from a name.
        year: of release or of the first broadcast, where the name has one.
        answer: TMDb's answer to ``/search/movie`` or ``/search/tv``.
    """
    results = {result.tmdb_id: result for result in _read_results(kind, answer)}
    weighed = [(_score(kind, title, year, result), result) for result in results.values()]
    weighed.sort(key=lambda pair: (-pair[0], -pair[1].popularity, pair[1].tmdb_id))
    asked = _describe(title, year)
    if not weighed:
        return NoMatch(Reason("not-found", title=asked))
    score, best = weighed[0]
    if score < (THRESHOLD_WITHOUT_YEAR if year is None else THRESHOLD):
        closest = _describe(best.titles[0], best.year)
        reason = Reason("not-sure", title=asked, closest=closest, score=f"{score:.2f}")
        return NoMatch(reason, tuple((result.tmdb_id, result.year) for _, result in weighed))
    rivals = [result for other, result in weighed if score - other < _AS_GOOD]
    chosen = _most_popular(rivals, year)
    if chosen is None:
        which = ", ".join(
            f"{_describe(r.titles[0], r.year)} (tmdb-{r.tmdb_id})" for r in rivals[:_LISTED]
        )
        missing = "add the year or an id tag" if year is None else "add an id tag"
        return NoMatch(Reason("ambiguous", title=asked, which=which, missing=missing))
    return Match(chosen.tmdb_id)


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


def _score(kind: str, title: str, year: int | None, result: _Result) -> float:
    """Return how surely a result is what is searched, from 0 to 1."""
    alike = max(likeness(title, found) for found in result.titles)
    stem, country = without_country(title)
    if country:
        # A co-production names its countries as it likes: another country is less sure, not wrong.
        share = 1.0 if country in result.countries else _OTHER_COUNTRY
        alike = max(alike, *(share * likeness(stem, found) for found in result.titles))
    return round(alike * _weigh_year(kind, year, result.year, exact=alike == 1.0), 4)


def other_titles(answer: Mapping[str, Any]) -> set[str]:
    """Return a title's alternative titles and its translations, as far as they are appended."""
    alternative, translations = nested(answer, "alternative_titles"), nested(answer, "translations")
    others = [*objects(alternative, "titles"), *objects(alternative, "results")]
    others += [nested(item, "data") for item in objects(translations, "translations")]
    named = (text(item, key) for item in others for key in ("title", "name"))
    return {name for name in named if name}


def without_country(title: str) -> tuple[str, str | None]:
    """Split ``The Office (US)`` into the title and the country as TMDb calls it."""
    match = _COUNTRY_AT_END.match(title)
    if match is None or (match[3] and title.isupper()):
        return title, None
    code = (match[2] or match[3]).upper()
    known = _COUNTRIES.get(code.lower()) or (code if title.endswith(f"({code})") else None)
    return (match[1], known) if known else (title, None)


def _weigh_year(kind: str, asked: int | None, found: int | None, *, exact: bool) -> float:
    if asked is None or found == asked:
        return 1.0
    if found is None:
        return _YEAR_UNKNOWN
    if abs(found - asked) == 1:
        return _YEAR_OFF_BY_ONE
    return _YEAR_OF_A_SEASON if kind == "tv" and exact and asked > found else _YEAR_WRONG


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
