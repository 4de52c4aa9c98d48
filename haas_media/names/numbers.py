"""Find an episode number that stands alone, as in anime releases and in a season's folder."""

from __future__ import annotations

import re

from haas_media.names.episodes import MOST_EPISODES_IN_A_FILE, Found
from haas_media.names.words import is_year

_NUMBER = (
    r"(?P<first>[0-9]{1,4})(?P<half>\.[0-9](?![0-9]))?(?:[a-d](?![^\W_]))?(?:v[0-9]+)?"
    r"(?:(?:[-–~+&]|,[ ]?|[ ][-–~+&][ ](?=[0-9v]+[ ]?(?:[\[(\])】]|$)))"
    r"(?P<last>[0-9]{1,4})(?:v[0-9]+)?(?![^\W_]))?"
)
_FLAGS = re.IGNORECASE | re.VERBOSE
_ALONE = re.compile(
    rf"^[\s._\[(\#-]*(?:e|ep)?{_NUMBER}(?:[ ._(（-]*(?:end|final))?[\s._\[\]()）-]*$", _FLAGS
)
_SEASON_EPISODE = re.compile(
    r"^[\s._\[(]*(?P<season>[0-9]{1,2})[-._](?P<episode>[0-9]{2,3})(?![0-9])(?=[\s._)\]-]|$)"
)
# `Show_02.03`, `Show.0203.Title`, `Show 2.03 - Title`
_INNER_SEASON_EPISODE = re.compile(
    r"(?:(?<=[^\W])[ ._-]|(?<=[ ]-[ ]))(?P<season>0[0-9](?=[._])|(?<=[.])0[1-9](?=[0-9]{2}[.])"
    r"|(?<=[ ])[1-9][0-9]?(?=[.][0-9]{2}[ ]-[ ]))"
    r"(?:[._]|(?<=[.][0-9]{2}))(?P<episode>[0-9]{2})(?![0-9])(?=[\s._)\]-]|$)"
)
# Nobody keeps so many episodes in one file: `Show 03-20` is the twentieth of season 3.
_FAR_APART = re.compile(r"(?<=[^\W_])[ ._](?P<season>[0-2][0-9])-(?P<episode>[0-9]{2})(?=[\s._]*$)")
_FEW_EPISODES = 4
_BRACKET_SEASON_EPISODE = re.compile(r"\[(?P<season>[0-9]{1,2})\.(?P<episode>[0-9]{2,3})\]")
_DASHED = re.compile(
    rf"(?<=[\s_.])[-–‒—][\s_.]+\(?(?:s[0-9]{{1,2}}[ ]?-?[ ]?)?(?:ep?[ ._]?|\#)?"
    rf"{_NUMBER}\)?(?=[\s_.\[(]|$)",
    _FLAGS,
)
_CLOSED = re.compile(r"[\s_.]*(?:$|[\[(]|[-–‒—][\s_.])")
_LEADING = re.compile(
    rf"^[\s._\[(\#]*(?:e|ep)?{_NUMBER}[\])]?(?=[\s._-])(?P<gap>[\s._-]+)(?=\S)", _FLAGS
)
_BRACKETED_FIRST = re.compile(r"^\s*\[([0-9]{1,3})\][\s._-]+(?=[^\W\d_])")
_LAST_DASHED = re.compile(
    rf"^(?!0[0-9]*[ ._])[0-9][^\[(]*[^\W\d_]{{3}}[^\[(]*[\s_]-[\s_]{_NUMBER}(?=[\s_]*(?:[\[(]|$))",
    _FLAGS,
)
_LEADING_TWO = re.compile(
    r"^[\s._\[(\#]*(?P<first>[0-9]{1,3})[ ](?:[-–~+&]|and)[ ](?P<second>[0-9]{1,3})(?=[ ]-[ ])"
)
_BRACKETED = re.compile(rf"[\[【(][ .]*{_NUMBER}(?:[ ._-]*(?:end|fin|final))?[ .]*[\]】)]", _FLAGS)
_BEFORE_BRACKET = re.compile(
    rf"(?<=[\s_.]){_NUMBER}(?:[ ._-]*(?:end|final))?(?=[\s_.]*(?:[\[(【]|$))", _FLAGS
)
_INNER = re.compile(rf"(?<=[\s_.]){_NUMBER}(?=[\s_.-])", _FLAGS)


def _numbers(match: re.Match[str]) -> tuple[int, ...] | None:
    """Return the numbers of a match; None when they cannot be episodes."""
    first, last = int(match["first"]), match["last"]
    if match["half"]:
        return () if not last else None
    if len(match["first"]) == 4 and is_year(first):
        return None
    if last is None:
        return (first,)
    reach = int(last) - first
    if len(last) == 4 and is_year(int(last)) and reach > MOST_EPISODES_IN_A_FILE:
        # `10 - 1984`: a year that is a title.
        return (first,)
    return tuple(range(first, int(last) + 1)) if 0 < reach <= MOST_EPISODES_IN_A_FILE else None


def _found(match: re.Match[str] | None) -> Found | None:
    numbers = _numbers(match) if match else None
    return None if match is None or numbers is None else Found(match.start(), match.end(), numbers)


def find_alone(text: str) -> Found | None:
    """Take a name that is nothing but a number: `03`, `E03`, `03-04`, `[03]`, `03v2`."""
    return _found(_ALONE.match(text))


def find_season_and_episode(text: str) -> Found | None:
    """Find season and episode side by side: `2-06 Title`, `Show_03_19`, `Show 03-20`."""
    match = _SEASON_EPISODE.match(text) or _INNER_SEASON_EPISODE.search(text)
    return _pair(match or _far_apart(text))


def find_bracketed_pair(text: str) -> Found | None:
    """Find season and episode in brackets of their own: `Show [5.134]`."""
    return _pair(_BRACKET_SEASON_EPISODE.search(text)) if "[" in text else None


def _pair(match: re.Match[str] | None) -> Found | None:
    if match is None:
        return None
    season = int(match["season"])
    return Found(match.start(), match.end(), (int(match["episode"]),), season, (season,))


def _far_apart(text: str) -> re.Match[str] | None:
    match = _FAR_APART.search(text)
    reach = int(match["episode"]) - int(match["season"]) + 1 if match else 0
    return match if reach > _FEW_EPISODES else None


def find_leading(text: str) -> Found | None:
    """Find a number at the beginning: `03 - Title`, `03. Title`, `03 Title`, `03 & 04 - Title`."""
    two = _LEADING_TWO.match(text)
    if two and int(two["second"]) == int(two["first"]) + 1:
        return Found(two.start(), two.end(), (int(two["first"]), int(two["second"])))
    return _found(_LEADING.match(text))


def is_leading_certain(text: str) -> bool:
    """Tell whether a number at the beginning counts rather than belongs to a title.

    `02 Title` and `102 - Title` count; `12 Monkeys` may be a title.
    """
    match = _LEADING.match(text)
    if match is None:
        return False
    gap = match["gap"]
    return match["first"].startswith("0") or ". " in gap or ("-" in gap and len(gap) > 1)


def find_bracketed_first(text: str) -> Found | None:
    """Find a number in brackets before a title: `[03] Title`."""
    match = _BRACKETED_FIRST.match(text)
    return Found(match.start(), match.end(), (int(match[1]),)) if match else None


def find_of_season(text: str, season: int) -> Found | None:
    """Find a season's number and the episode's at the beginning: `2005 - Title` in season 20."""
    match = re.match(rf"\s*{season:02}(?P<episode>[0-9]{{2}})(?![^\W_])", text)
    number = int(match["episode"]) if match else 0
    return Found(0, match.end(), (number,)) if match and number else None


def find_last_dashed(text: str) -> Found | None:
    """Find the number that ends a name after a dash and words: `86 - Title - 03`.

    Then a number at the beginning belongs to the title.
    """
    match = _LAST_DASHED.match(text)
    found = _found(match)
    return Found(match.start("first"), found.end, found.episodes) if match and found else None


def find_after_title(text: str) -> Found | None:
    """Find a number after a title: ` - 03`, `[03]`, `Title 03 [`, `Title 03 name`."""
    dashed = [found for match in _DASHED.finditer(text) if (found := _found(match)) is not None]
    # A word after the number may make it a part of the title: `Show - 100 Years - 05`.
    closed = [found for found in dashed if _CLOSED.match(text, found.end)]
    if dashed:
        return (closed or dashed)[0]
    for pattern in (_BRACKETED, _BEFORE_BRACKET):
        for match in pattern.finditer(text):
            found = _found(match)
            if found and any(map(str.isalpha, text[: found.start])):
                return found
    return None


def find_inside(text: str) -> Found | None:
    """Find the one number of two or more digits between words: `Title 03 name`."""
    candidates = [
        found
        for match in _INNER.finditer(text)
        if len(match["first"]) > 1
        and (found := _found(match)) is not None
        and any(map(str.isalpha, text[: match.start()]))
    ]
    return candidates[0] if len(candidates) == 1 else None
