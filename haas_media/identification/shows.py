"""Read the name of an episode's file, and of the folders of its show."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from haas_media.identification import rules
from haas_media.identification.ids import without_tags
from haas_media.identification.numbers import (
    Found,
    absolute_before,
    find_after_title,
    find_alone,
    find_chapter,
    find_date,
    find_inside,
    find_last_dashed,
    find_leading,
    find_marked,
    find_of_season,
    find_pair,
    find_part,
    find_scene,
    find_season,
    find_short_date,
    find_special,
    find_whole,
    find_worded,
    is_leading_certain,
)
from haas_media.identification.rules import is_year
from haas_media.identification.text import (
    best_title,
    cut_release,
    ends_in_release,
    find_release,
    fold,
    is_all_brackets,
    pieces,
    split_year,
    titles_of,
    trim_trailing,
    without_checksums,
    without_prefix,
    without_trailing_groups,
)

_SEVERAL = re.compile(r"[0-9]\s?(?:[-–~:&+,/]|to|and|à|bis|по)")
_A_YEAR = re.compile(rules.YEAR)

FIRST_SEASON_LIKE_A_YEAR = 19
MOST_IN_A_FILE_OF_A_SEASON = 30


@dataclass(frozen=True, slots=True)
class Show:
    """What a name says of a show."""

    title: str | None
    year: int | None = None
    country: str | None = None
    other_titles: tuple[str, ...] = ()


@lru_cache(maxsize=8192)
def show_of_folder(folder: str) -> Show:
    """Read a show folder: `Show (2010)`, `Show (US)`, `[Group] Show [1080p]`."""
    text = without_prefix(without_tags(folder))
    seasons = find_worded(text) if _SEVERAL.search(text) else None
    if seasons and len(seasons.seasons) > 1 and seasons.start > 0:
        # `Show S01-S08 Complete` above the folders of its seasons.
        text = text[: seasons.start]
    text = rules.RANGE_AT_END.sub("", text)
    return show_of(trim_trailing(cut_release(text)) if find_release(text) else text)


@lru_cache(maxsize=8192)
def released_episode(folder: str) -> tuple[Show, Found] | None:
    """Read the folder of one episode's release, whose file often has a name that says nothing."""
    found = find_marked(folder)
    if found is None and find_release(folder):
        found = find_date(folder)
    return (_named(folder, found), found) if found else None


@lru_cache(maxsize=8192)
def show_of(text: str) -> Show:
    """Read the stretch of a name that stands before its numbers."""
    text, year = split_year(text.rstrip(" /([{") or text)
    if "[" in text and not rules.COUNTRY.search(text):
        text = without_trailing_groups(text)
    rest = rules.LEFTOVER.sub("", text)
    if year is None:
        rest, year = split_year(rest)
    country = rules.COUNTRY.search(rest)
    if country and not rest.isupper():
        rest = rules.LEFTOVER.sub("", rest[: country.start()])
        if year is None:
            rest, year = split_year(rest)
    title, others = titles_of(rest)
    code = next(filter(None, country.groups())).upper() if country and title else ""
    code = {"USA": "US", "U.S.": "US"}.get(code, code)
    return Show(title, year if title else None, code or None, others)


def episode_of(stem: str, show: Show | None, season: int | None) -> tuple[Show, Found | None]:
    """Find the numbers in a file's name, and the show's title before them.

    `show` and `season` are what the folders say, when they say it: a number alone only counts
    in the folder of a show.
    """
    text = _without_recorded(without_tags(stem))
    text = rules.COUNT_OF_BATCH.sub("", text) if "[" in text else text
    found = find_marked(text) or _dated(text)
    if found:
        named = _named(text, found)
        if found.date and show is None and named.title is None:
            # `2010.05.23.Show.720p`: sorted by date, with the show after it.
            named = show_of(cut_release(text[found.end :]))
        return named, found
    whole = rules.SECOND_COPY.sub("", without_checksums(text))
    pair = find_pair(whole, (rules.BRACKET_PAIR,)) or find_chapter(whole)
    if pair:
        return _named(whole, pair), pair
    special = find_special(whole)
    if special:
        before = whole[: special.start].rstrip("[( ")
        title = best_title(pieces(before)) if is_all_brackets(without_prefix(before)) else before
        return (show_of(without_prefix(title)) if title else Show(None)), special
    in_folder = show is not None or season is not None
    first = rules.BRACKETED_FIRST.match(whole) if in_folder else None
    if first:
        return Show(None), Found(first.start(), first.end(), (int(first["first"]),))
    text = without_prefix(whole)
    alone = find_alone(text) if in_folder and is_all_brackets(text) else None
    if alone:
        return Show(None), alone
    if is_all_brackets(text):
        return _in_brackets(text)
    fansub = text is not whole
    text = _without_show(text, show)
    year = rules.YEAR_FIRST.match(text) if show is not None and text is not whole else None
    found = _counted(text, season, in_folder=in_folder, fansub=fansub)
    if found is None:
        return Show(None), None
    if season is not None:
        found = _in_season(found, season)
    if show is not None and year:
        # `Show/Show (2010) - 03`
        return Show(show.title, int(year[1])), found
    return _named(text, found), found


def _without_recorded(text: str) -> str:
    """Drop the day of a recording from before a show with a number of its own."""
    day = rules.RECORDED.match(text) if text[:2].strip("[(").isdecimal() else None
    if day is None:
        return text
    rest = text[day.end() :]
    worded = find_worded(rest)
    return rest if find_marked(rest) or (worded and worded.episodes) else text


def _dated(text: str) -> Found | None:
    """Find a date; season and episode beside it, told in words, decide."""
    date = find_date(text)
    beside = date and any(map(str.isdecimal, text[: date.start] + text[date.end :]))
    worded = find_worded(text) if beside else None
    if date is None or worded is None or not worded.episodes:
        return date
    if worded.season is not None:
        return worded
    return replace(date, start=min(date.start, worded.start))


def _named(text: str, found: Found) -> Show:
    absolute = absolute_before(text, found)
    before = text[: found.start if absolute is None else absolute]
    aired = find_date(before) if found.date is None and _A_YEAR.search(before) else None
    if aired:
        # `Show.2010.05.23.S01E02`
        before = before[: aired.start] or before
    before = without_prefix(before)
    if found.season and before.rstrip(" .-_").endswith(str(found.season)):
        told = find_season(before)
        if told and told.start and told.season == found.season:
            # `Show Season 2 2x03`
            before = before[: told.start]
    if (found.season is None and found.date is None) or ends_in_release(before):
        cut = cut_release(before, dated=True)
        before = before if cut == before else trim_trailing(cut)
    return show_of(before)


def _without_show(text: str, show: Show | None) -> str:
    """Drop the show's own title from the beginning: it may hold numbers (`Space 1999`)."""
    if show is None or show.title is None:
        return text
    wanted, at = fold(show.title), 0
    for position, letter in enumerate(text):
        if at == len(wanted):
            return text[position:] if not letter.isalnum() else text
        folded = fold(letter)
        if folded and not wanted.startswith(folded, at):
            return text
        at += len(folded)
    return text


def _counted(text: str, season: int | None, *, in_folder: bool, fansub: bool) -> Found | None:
    """Find an episode's number by words, then by its place in the name."""
    body = cut_release(text).replace("_", " ")
    placed = find_of_season(body, season) if season else None
    if placed and season is not None and season >= FIRST_SEASON_LIKE_A_YEAR:
        return placed
    worded = find_worded(text)
    if worded and _is_of_title(body, worded, in_folder=in_folder):
        worded = None
    if worded and worded.episodes:
        return worded
    scene = find_scene(text)
    if scene:
        return scene
    day = None if worded else find_short_date(text)
    if day:
        return day
    body = rules.UNSURE_DAY.sub(lambda day: " " * len(day[0]), body)
    pair = None if worded else _paired(body, in_folder=in_folder)
    if pair and season not in (None, pair.season):
        # In another season's folder, `01-02` is two episodes.
        pair = None
    alone = find_alone(body)
    if pair or (alone and in_folder):
        return pair or alone
    rest = find_after_title(body[worded.end :] if worded else body)
    if worded:
        return _after_season(worded, rest, body)
    leading = find_leading(body)
    if leading and (in_folder or is_leading_certain(body)):
        return find_last_dashed(body) or leading
    part, inside = find_part(body), find_inside(body)
    if part and rest and part.start < rest.start < part.end:
        return part
    # Fansubs number every episode, others number the parts of a mini-series.
    return rest or (inside if fansub else None) or part or inside


def _is_of_title(body: str, worded: Found, *, in_folder: bool) -> bool:
    """Tell whether a number is of an episode's title: `05 - Chapter 3`, `321 - Mail #1`."""
    word = body[worded.start : worded.end].casefold()
    counts_title = word.startswith("#") or (in_folder and word.startswith("chap"))
    return counts_title and worded.start > 0 and is_leading_certain(body)


def _paired(body: str, *, in_folder: bool) -> Found | None:
    """Find season and episode side by side; `3x3` that begins a name may begin its title."""
    crossed = find_pair(body, (rules.CROSSED,))
    if crossed and (in_folder or crossed.start > 0 or crossed.end == len(body)):
        return crossed
    pair = find_pair(body, rules.PAIRS)
    return None if pair and pair.start == 0 and find_last_dashed(body) else pair


def _after_season(season: Found, rest: Found | None, body: str) -> Found:
    """Join a season told in words with the number after it: `Show S2 - 07`."""
    rest = rest or find_alone(body[season.end :]) or find_leading(body[season.end :])
    if rest is None or season.season is None:
        return season
    return replace(season, episodes=rest.episodes, end=season.end + rest.end)


def _in_season(found: Found, season: int) -> Found:
    """Read `103` in the folder of season 1 as its third episode."""
    if len(found.episodes) > MOST_IN_A_FILE_OF_A_SEASON:
        # `05 - 100`: a title that is a number.
        return replace(found, episodes=found.episodes[:1])
    if found.season is None and found.episodes and season > 0:
        split = [divmod(number, 100) for number in found.episodes]
        if all(hundreds == season and rest for hundreds, rest in split):
            return replace(found, episodes=tuple(rest for _, rest in split))
    return found


def _in_brackets(text: str) -> tuple[Show, Found | None]:
    """Read a name of which every part is in brackets: title, number, release talk."""
    titles: list[str] = []
    year = None
    for inner in pieces(text):
        found = find_alone(inner) or find_whole(inner)
        if found and titles:
            show = show_of(trim_trailing(cut_release(best_title(titles))))
            return replace(show, year=show.year or year), found
        if titles and inner.isdecimal() and is_year(int(inner)):
            year = int(inner)
            continue
        titles.append(inner)
    return Show(None), None
