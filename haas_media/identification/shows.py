"""Read the name of an episode's file, and of the folders of its show."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from haas_media.identification import episode_rules, numbers, rules, titles
from haas_media.identification.numbers import Found
from haas_media.identification.rules import is_year

_SEVERAL = re.compile(r"[0-9]\s?(?:[-–~:&+,/]|to|and|à|bis|по)")
_COUNTED = re.compile(r"[0-9][話话集回화회]?[ ._([-]*$")
_BARE_YEAR = re.compile(rf"[^\W_][ ._-]+{rules.YEAR}[ ._-]*$")
_A_YEAR = re.compile(rules.YEAR)

FIRST_YEAR = 1930
"""Of shows; an earlier one that begins a name is of the title, `1883 - Story`."""
FIRST_SEASON_LIKE_A_YEAR = 19
MOST_IN_A_FILE_OF_A_SEASON = 30


@dataclass(frozen=True, slots=True)
class Show:
    """What a name says of a show."""

    title: str | None
    year: int | None = None
    country: str | None = None
    other_titles: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the title's letters and digits, by which shows are compared."""
        return titles.fold(self.title or "")


@lru_cache(maxsize=8192)
def show_of_folder(folder: str) -> Show:
    """Read a show folder: `Show (2010)`, `Show (US)`, `[Group] Show [1080p]`."""
    text = titles.without_prefix(titles.with_year_behind(rules.ANY_TAG.sub("", folder), FIRST_YEAR))
    text = rules.SURE_PLACE.sub("", text)
    seasons = numbers.find_worded(text) if _SEVERAL.search(text) else None
    if seasons and len(seasons.seasons) > 1 and seasons.start > 0:
        # `Show S01-S08 Complete` above the folders of its seasons.
        text = text[: seasons.start]
    text = rules.RANGE_AT_END.sub("", text)
    if titles.find_release(text):
        text = rules.RANGE_AT_END.sub("", titles.trim_trailing(titles.cut_release(text)))
    return show_of(text)


@lru_cache(maxsize=8192)
def released_in(folder: str) -> tuple[Show, Found] | None:
    """Read the folder of one episode's release, whose file often has a name that says nothing."""
    found = numbers.find_marked(folder)
    if found is None and titles.find_release(folder):
        found = numbers.find_date(folder)
    return (_named(folder, found), found) if found else None


@lru_cache(maxsize=8192)
def show_of(text: str) -> Show:
    """Read the stretch of a name that stands before its numbers."""
    whole = text.rstrip(" /([{") or text
    text, year = titles.split_year(whole)
    if "[" in text and not rules.COUNTRY.search(text):
        text = rules.TRAILING_GROUPS.sub("", text)
    rest = rules.LEFTOVER.sub("", text)
    rest, year = (rest, year) if year else titles.split_year(rest)
    country = rules.COUNTRY.search(rest)
    if country and not rest.isupper():
        rest = rules.LEFTOVER.sub("", rest[: country.start()])
        rest, year = (rest, year) if year else titles.split_year(rest)
    title, others = titles.titles_of(rest)
    if title is None:
        return Show(None)
    if year and _BARE_YEAR.search(whole):
        # `Space 1999` is called that, most others are only told apart by it.
        others = (*others, f"{title} {year}")
    if title.endswith(" (TV)"):
        # As databases of anime tell a show from a film.
        others = (*others, title[:-5])
    code = country[country.lastindex or 0].upper().replace(".", "")[:2] if country else None
    return Show(title, year, code, others)


def episode_of(stem: str, show: Show | None, season: int | None) -> tuple[Show, Found | None]:
    """Find the numbers in a file's name, and the show's title before them.

    `show` and `season` are what the folders say, when they say it: a number alone only counts
    in the folder of a show.
    """
    text = _without_recorded(rules.ANY_TAG.sub("", stem))
    text = episode_rules.COUNT_OF_BATCH.sub("", text) if "[" in text or "【" in text else text
    found = numbers.find_marked(text) or _dated(text, season)
    if found:
        named = _named(text, found)
        if found.date and show is None and named.title is None:
            # `2010.05.23.Show.720p`: sorted by date, with the show after it.
            behind = episode_rules.HOUR.sub("", text[found.end :])
            named = show_of(titles.cut_release(titles.without_prefix(behind)))
        return named, found
    whole = episode_rules.SECOND_COPY.sub("", rules.CHECKSUM.sub("", text))
    pair = numbers.find_pair(whole, (episode_rules.BRACKET_PAIR,)) or numbers.find_chapter(whole)
    if pair:
        return _named(whole, pair), pair
    special = numbers.find_special(whole)
    if special:
        before = whole[: special.start].rstrip("[( ")
        if titles.is_all_brackets(titles.without_prefix(before)):
            before = titles.best_title(titles.pieces(before))
        return show_of(titles.without_prefix(before)), special
    in_folder = show is not None or season is not None
    first = episode_rules.BRACKETED_FIRST.match(whole) if in_folder else None
    if first:
        return Show(None), Found(*first.span(), (int(first["first"]),))
    text = titles.without_prefix(whole)
    if titles.is_all_brackets(text):
        alone = numbers.find_alone(text) if in_folder else None
        return (Show(None), alone) if alone else _in_brackets(text)
    fansub = text is not whole
    if scene := numbers.find_scene(text):
        # The rest of the name tells it only with the show's title before it.
        return _named(text, scene), scene
    text = _without_show(text, show)
    if show and (film := episode_rules.FILM_OF_SHOW.match(text)):
        return show, Found(*film.span(), season=0)
    year = rules.YEAR_FIRST.match(text) if text is not whole else None
    found = _counted(text, season, in_folder=in_folder, fansub=fansub)
    if found is None:
        return Show(None), None
    if season is not None:
        found = _in_season(found, season)
    if show and year:
        # `Show/Show (2010) - 03`
        return Show(show.title, int(year[1])), found
    return _named(text, found), found


def _without_recorded(text: str) -> str:
    """Drop the day of a recording from before a show with a number of its own."""
    day = rules.RECORDED.match(text) if text[:2].strip("[(").isdecimal() else None
    if day is None:
        return text
    rest = text[day.end() :]
    worded = numbers.find_worded(rest)
    return rest if numbers.find_marked(rest) or (worded and worded.episodes) else text


def _dated(text: str, season: int | None) -> Found | None:
    """Find a date; season and episode beside it, told in words or by the folder, decide."""
    date = numbers.find_date(text)
    beside = date and any(map(str.isdecimal, text[: date.start] + text[date.end :]))
    worded = numbers.find_worded(text) if beside else None
    if date is None or worded is None or not worded.episodes:
        return date
    told = season is not None and text[worded.start] != "#"
    if worded.season is not None or told:
        return worded
    return replace(date, start=min(date.start, worded.start))


def _named(text: str, found: Found) -> Show:
    absolute = numbers.absolute_before(text, found)
    before = text[: found.start if absolute is None else absolute]
    if found.date:
        # `Show - 10718 - 2014-08-15`, `Show vom 15.8.2014`
        before = episode_rules.BEFORE_DAY.sub("", before)
    aired = numbers.find_date(before) if found.date is None and _A_YEAR.search(before) else None
    if aired:
        # `Show.2010.05.23.S01E02`
        before = before[: aired.start] or before
    before = titles.without_leading_release(titles.without_prefix(before))
    before = rules.SURE_PLACE.sub("", before)
    counts = found.season is not None and _COUNTED.search(before)
    counted = numbers.find_worded(before) if counts else None
    if counted and counted.episodes and not any(map(str.isalnum, before[counted.end :])):
        # `Show 第343話 (S16E01)`
        before = before[: counted.start]
    if found.season and before.endswith("(") and " - " in before:
        told = numbers.find_worded(before)
        if told and told.start and told.episodes == found.episodes:
            # `Show - Folge 5 - Title (S02/E05)`
            before = before[: told.start]
    if found.season and before.rstrip(" .-_").endswith(str(found.season)):
        told = numbers.find_season(before)
        if told and told.start and told.season == found.season:
            # `Show Season 2 2x03`
            before = before[: told.start]
    if (found.season is None and found.date is None) or titles.ends_in_release(before):
        cut = titles.cut_release(before)
        before = before if cut == before else titles.trim_trailing(cut)
    return show_of(before)


def _without_show(text: str, show: Show | None) -> str:
    """Drop the show's own title from the beginning: it may hold numbers (`Space 1999`)."""
    if show is None or show.title is None:
        return text
    wanted, at = titles.fold(show.title), 0
    for position, letter in enumerate(text):
        if at == len(wanted):
            # `番組05`: such scripts have no spaces.
            counts = letter.isdecimal() and wanted[-1] > "\u2e80"
            return text[position:] if counts or not letter.isalnum() else text
        folded = titles.fold(letter)
        if folded and not wanted.startswith(folded, at):
            return text
        at += len(folded)
    return text


def _counted(text: str, season: int | None, *, in_folder: bool, fansub: bool) -> Found | None:
    """Find an episode's number by words, then by its place in the name."""
    body = titles.cut_release(text)
    two = episode_rules.JOINED.search(body)
    if two and int(two["last"]) == int(two["first"]) + 1 and int(two["first"]) != season:
        body = f"{body[: two.end('first')]}&{body[two.start('last') :]}"
    body = body.replace("_", " ")
    if season:
        # `Season 2/Show 2 - 05`
        body = re.sub(rf"^\s*{season} - (?=[0-9]{{2,3}}(?:v[0-9])?\s*(?:[\[(]|$))", "", body)
    like_a_year = season is not None and season >= FIRST_SEASON_LIKE_A_YEAR
    placed = numbers.find_of_season(body, season) if season and like_a_year else None
    if placed:
        return placed
    worded = numbers.find_worded(text)
    if worded and _is_of_title(body, worded, in_folder=in_folder):
        worded = None
    if worded and worded.episodes:
        return worded
    day = None if worded else numbers.find_date(text, (episode_rules.SHORT_DATE,))
    if day:
        return day
    body = episode_rules.UNSURE_DAY.sub(lambda day: " " * len(day[0]), body)
    pair = None if worded else _paired(body, in_folder=in_folder)
    if pair and season not in (None, pair.season):
        # In another season's folder, `01-02` is two episodes.
        pair = None
    alone = numbers.find_alone(body)
    if pair or (alone and in_folder):
        return pair or alone
    behind = body[worded.end :] if worded else body
    rest = numbers.find_after_title(behind, titled=worded is not None)
    if worded:
        # `Show S2 - 07`
        rest = rest or numbers.find_alone(behind) or numbers.find_leading(behind)
        if rest is None or worded.season is None:
            return worded
        number = worded.season if rest.season is None else rest.season
        return replace(worded, season=number, episodes=rest.episodes, end=worded.end + rest.end)
    leading = numbers.find_leading(body)
    if leading and (in_folder or numbers.is_leading_certain(body)):
        return numbers.find_last_dashed(body) or leading
    part, inside = numbers.find_part(body), numbers.find_inside(body)
    if part and rest and part.start < rest.start < part.end:
        return part
    # Fansubs number every episode, others number the parts of a mini-series.
    return rest or (inside if fansub else None) or part or inside


def _is_of_title(body: str, worded: Found, *, in_folder: bool) -> bool:
    """Tell whether a number is of an episode's title: `05 - Chapter 3`, `321 - Mail #1`."""
    word = body[worded.start : worded.end].casefold()
    counts_title = word.startswith("#") or (in_folder and word.startswith("chap"))
    return counts_title and worded.start > 0 and numbers.is_leading_certain(body)


def _paired(body: str, *, in_folder: bool) -> Found | None:
    """Find season and episode side by side; `3x3` that begins a name may begin its title."""
    crossed = numbers.find_pair(body, (episode_rules.CROSSED,))
    if crossed and (in_folder or crossed.start > 0 or crossed.end == len(body)):
        return crossed
    pair = numbers.find_pair(body, episode_rules.PAIRS)
    return None if pair and pair.start == 0 and numbers.find_last_dashed(body) else pair


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
    names: list[str] = []
    year = season = None
    for inner in titles.pieces(text):
        found = numbers.find_alone(inner) or numbers.find_whole(inner)
        if found and names:
            title = titles.trim_trailing(titles.cut_release(titles.best_title(names)))
            told = numbers.find_season(title)
            if told and told.season and told.start:
                # `[Show S2][03]`
                title, season = title[: told.start], told.season
            show = show_of(title)
            numbered = replace(found, season=season) if season and found.season is None else found
            return replace(show, year=show.year or year), numbered
        if names and inner.isdecimal() and is_year(int(inner)):
            year = int(inner)
            continue
        apart = numbers.find_season(inner) if names else None
        if apart and apart.season and not (apart.start or inner[apart.end :].strip()):
            season = apart.season
            continue
        names.append(inner)
    return Show(None), None
