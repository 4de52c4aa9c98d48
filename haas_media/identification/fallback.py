"""Ask guessit about a name that no strict pattern takes."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from haas_media.identification.films import Film
from haas_media.identification.numbers import Found
from haas_media.identification.rules import is_year
from haas_media.identification.shows import Show

if TYPE_CHECKING:
    from haas_media.identification.identity import Kind


def _guess(name: str, kind: Kind) -> dict[str, Any]:
    # Takes longer to import than a scan of a small library, and is rarely needed.
    from guessit import guessit
    from guessit.api import GuessitException

    try:
        return dict(guessit(name, {"type": "movie" if kind == "movies" else "episode"}))
    except GuessitException:
        return {}


def _title_and_year(guess: dict[str, Any]) -> tuple[str | None, int | None]:
    title, year = guess.get("title", ""), guess.get("year")
    text = " ".join(map(str, title)) if isinstance(title, list) else str(title)
    return text if any(map(str.isalnum, text)) else None, year if isinstance(year, int) else None


def _numbers(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(sorted({number for number in values if isinstance(number, int)}))


def guess_film(name: str) -> Film:
    """Return what guessit takes a name for, in a library of films."""
    return Film(*_title_and_year(_guess(name, "movies")))


def guess_episode(name: str) -> tuple[Show, Found | None]:
    """Return what guessit takes a name for, in a library of shows."""
    guess = _guess(name, "tv")
    seasons, episodes = _numbers(guess.get("season")), _numbers(guess.get("episode"))
    date, show = guess.get("date"), Show(*_title_and_year(guess))
    if not _is_sure(name, seasons, episodes, date):
        return show, None
    day = date if isinstance(date, datetime.date) else None
    return show, Found(0, 0, episodes, seasons[0] if seasons else None, seasons, day)


def _is_sure(name: str, seasons: tuple[int, ...], episodes: tuple[int, ...], date: object) -> bool:
    """Tell a reading from a guess: numbers that belong together, written as people number.

    Guessit takes any digit that is left over for an episode (`Show 7 by 9`).
    """
    if len(seasons) > 1 or (seasons and is_year(seasons[0])):
        return False
    if not episodes:
        # Of two digits it takes any two for the year.
        return isinstance(date, datetime.date) and str(date.year) in name
    if episodes[-1] - episodes[0] != len(episodes) - 1:
        return False
    return all(re.search(rf"(?<![0-9])0*{number:02}(?![0-9])", name) for number in episodes)
