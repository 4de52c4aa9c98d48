"""Read the name of an episode's file, and of the folders of its show."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from haas_media.names.episodes import (
    Found,
    find_chapter,
    find_crossed,
    find_date,
    find_marked,
    find_part,
    find_special,
    find_whole,
    find_worded,
)
from haas_media.names.ids import without_tags
from haas_media.names.numbers import (
    find_after_title,
    find_alone,
    find_bracketed_first,
    find_bracketed_pair,
    find_inside,
    find_last_dashed,
    find_leading,
    find_of_season,
    find_season_and_episode,
    is_leading_certain,
)
from haas_media.names.release import begins_with_release, find_release
from haas_media.names.text import (
    best_title,
    cut_release,
    fold,
    is_all_brackets,
    pieces,
    split_year,
    title_of,
    trim_trailing,
    without_checksums,
    without_prefix,
    without_trailing_groups,
)
from haas_media.names.words import YEAR, is_year

# In small letters only between dots, and `us` not after a word that it is the object of
# (`the.office.us`, but `this.is.us`).
_COUNTRY = re.compile(
    r"(?<=[^\s._(-])(?:[\s._-]+(?:\((US|UK|AU|NZ|CA)\)|(US|UK|AU|NZ|CA))"
    r"|(?<![._]is)(?<![._](?:of|to|by|on))(?<![._](?:for|and|all))(?<![._](?:with|like|from))"
    r"(?<![._]between)[._](us)|[._](uk))[\s._-]*$"
)
# Broadcast releases write season and episode as one number: `show.name.117.hdtv-group`.
_SCENE = re.compile(
    r"^[\w.'&-]*?[^\W\d_][\w.'&-]*?\.([1-9][0-9]?)([0-9]{2})\.(?:720p\.|1080[pi]\.)?(?:[hp]dtv|dsr(?:ip)?|tvrip)(?![^\W_])",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"[0-9]\s?(?:[-–~:&+,/]|to|and|à|bis|по)")
_A_YEAR = re.compile(YEAR)
_YEAR_FIRST = re.compile(rf"^[\s._-]*[(\[]({YEAR})[)\]]")
# What a folder of fansubs holds: `[Group] Show (01-12)`, `Show 01-12`.
_RANGE_AT_END = re.compile(
    rf"(?<=[^\W\d_])[\s._]+(?!\(?{YEAR}-{YEAR})"
    r"(?:\([0-9]{1,4}-[0-9]{2,4}\)|[0-9]{1,4}-[0-9]{2,4})(?=[\s._]*(?:[(\[]|$))"
)
# A number in brackets after another counts downloads: `Show 05 (1)`.
_SECOND_COPY = re.compile(r"(?<=[ _][0-9]{2})[ _]?\([1-9]\)$")
_LEFTOVER = re.compile(
    r"[\s._-]+(?:[(\[]?(?:the[\s._]+)?complete(?:[\s._]+series)?[)\]]?|(?:tv[\s._])?mini-?series.*"
    r"|[(\[](?:tv[\s._-]?)?(?:mini[\s._-]?)?series[)\]]|[(\[]?batch[)\]]?|seasons?|int[eé]grale)[\s._-]*$",
    re.IGNORECASE,
)

FIRST_SEASON_LIKE_A_YEAR = 19
MOST_IN_A_FILE_OF_A_SEASON = 30


@dataclass(frozen=True, slots=True)
class Show:
    """What a name says of a show."""

    title: str | None
    year: int | None = None
    country: str | None = None


@lru_cache(maxsize=8192)
def show_of_folder(folder: str) -> Show:
    """Read a show folder: `Show (2010)`, `Show (US)`, `[Group] Show [1080p]`."""
    text = without_prefix(without_tags(folder))
    seasons = find_worded(text) if _SEVERAL.search(text) else None
    if seasons and len(seasons.seasons) > 1 and seasons.start > 0:
        # `Show S01-S08 Complete` above the folders of its seasons.
        text = text[: seasons.start]
    text = _RANGE_AT_END.sub("", text)
    return show_of(trim_trailing(cut_release(text)) if find_release(text) else text)


@lru_cache(maxsize=8192)
def released_episode(folder: str) -> tuple[Show, Found] | None:
    """Read the folder of one episode's release, whose file often has a name that says nothing."""
    found = find_marked(folder)
    if found is None and find_release(folder):
        found = find_date(folder)
    return (_named(folder, found), found) if found else None


def show_of(text: str) -> Show:
    """Read the stretch of a name that stands before its numbers."""
    if text.endswith(("[", "(", "{")):
        text = text[:-1].rstrip(" ._-–")
    text, year = split_year(text)
    text = _LEFTOVER.sub("", without_trailing_groups(text) if "[" in text else text)
    if year is None:
        text, year = split_year(text)
    country = _COUNTRY.search(text)
    if country and not text.isupper():
        text = text[: country.start()]
        if year is None:
            text, year = split_year(text)
    title = title_of(_LEFTOVER.sub("", text))
    code = next(filter(None, country.groups())).upper() if country and title else None
    return Show(title, year if title else None, code)


def episode_of(stem: str, show: Show | None, season: int | None) -> tuple[Show, Found | None]:
    """Find the numbers in a file's name, and the show's title before them.

    `show` and `season` are what the folders say, when they say it: a number alone only counts
    in the folder of a show.
    """
    text = without_tags(stem) if "{" in stem or "[" in stem else stem
    found = find_marked(text) or find_date(text)
    if found:
        named = _named(text, found)
        if found.date and show is None and named.title is None:
            # `2010.05.23.Show.720p`: sorted by date, with the show after it.
            named = show_of(cut_release(text[found.end :]))
        return named, found
    whole = _SECOND_COPY.sub("", without_checksums(text))
    pair = find_bracketed_pair(whole) or find_chapter(whole)
    if pair:
        return _named(whole, pair), pair
    in_folder = show is not None or season is not None
    first = find_bracketed_first(whole) if in_folder else None
    if first:
        return Show(None), first
    text = without_prefix(whole)
    if is_all_brackets(text):
        return _in_brackets(text)
    fansub = text is not whole
    text = _without_show(text, show)
    year = _YEAR_FIRST.match(text) if show is not None and text is not whole else None
    found = _counted(text, season, in_folder=in_folder, fansub=fansub)
    if found is None:
        return Show(None), None
    if season is not None:
        found = _in_season(found, season)
    if fansub and show is None and found.start == 0:
        # `[Group] 01 - Title [720p]`
        return show_of(cut_release(text[found.end :])), found
    if show is not None and year:
        # `Show/Show (2010) - 03`
        return Show(show.title, int(year[1])), found
    return _named(text, found), found


def _named(text: str, found: Found) -> Show:
    before = text[: found.start]
    if not before:
        return Show(None)
    aired = find_date(before) if found.date is None and _A_YEAR.search(before) else None
    if aired and not any(map(str.isalnum, before[aired.end :])):
        # `Show.2010.05.23.S01E02`
        before = before[: aired.start] or before
    return show_of(without_prefix(before))


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
    body = cut_release(text)
    placed = find_of_season(body, season) if season else None
    if placed and season is not None and season >= FIRST_SEASON_LIKE_A_YEAR:
        return placed
    worded = find_worded(text) or find_special(text)
    if worded and in_folder and _is_chapter_of_title(body, worded):
        worded = None
    if worded and worded.episodes:
        return worded
    scene = _SCENE.match(text) if worded is None else None
    if scene and not is_year(int(scene[1] + scene[2])):
        told = int(scene[1])
        return Found(scene.start(1) - 1, scene.end(), (int(scene[2]),), told, (told,))
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
        return leading if in_folder else find_last_dashed(body) or leading
    part, inside = find_part(body), find_inside(body)
    if part and rest and part.start < rest.start < part.end:
        return part
    # Fansubs number every episode, others number the parts of a mini-series.
    return rest or (inside if fansub else None) or part or inside


def _is_chapter_of_title(body: str, worded: Found) -> bool:
    """Tell whether a chapter is the title of an episode with a number: `05 - Chapter 3`."""
    word = body[worded.start : worded.end].casefold()
    return word.startswith("chap") and worded.start > 0 and is_leading_certain(body)


def _paired(body: str, *, in_folder: bool) -> Found | None:
    """Find season and episode side by side; `3x3` that begins a name may begin its title."""
    crossed = find_crossed(body)
    if crossed and (in_folder or crossed.start > 0 or crossed.end == len(body)):
        return crossed
    pair = find_season_and_episode(body)
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
    for inner in pieces(text):
        found = find_alone(inner) or find_whole(inner)
        if found and titles:
            return show_of(trim_trailing(cut_release(best_title(titles)))), found
        if begins_with_release(inner):
            break
        titles.append(inner)
    return Show(None), None
