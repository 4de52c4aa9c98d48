"""Find season and episode numbers, and dates, in a file's name."""

from __future__ import annotations

import datetime
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from haas_media.identification import episode_rules as rules
from haas_media.identification.rules import ARTICLE_AT_END, is_year, small_number
from haas_media.identification.titles import begins_with_release, lower

MOST_EPISODES_IN_A_FILE = 200
"""A longer range is two numbers that have nothing to do with each other."""
MOST_SPACED = 30
"""What stands apart, `S01E01 - E12`, covers no more than a season."""
_WORD = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers found in a name, and where in the text they stand.

    Of a special whose number TMDb does not have (`05.5`), `season` is 0 and `episodes` is empty.
    """

    start: int
    end: int
    episodes: tuple[int, ...] = ()
    season: int | None = None
    seasons: tuple[int, ...] = ()
    date: datetime.date | None = None


def _of_season(match: re.Match[str], season: int, episodes: tuple[int, ...], end: int = 0) -> Found:
    return Found(match.start(), end or match.end(), episodes, season, (season,))


@lru_cache(maxsize=64)
def find_marked(text: str) -> Found | None:
    """Find `S01E02`, `1x02` and their multi-episode forms: what needs no context to be sure of.

    Kept for a moment: several steps ask it of the same name.
    """
    small = lower(text)
    crossed = "x" in small or "х" in small or "×" in small
    marked = rules.MARKED if crossed else rules.MARKED[:1]
    match = next(filter(None, (rule.search(small) for rule in marked)), None)
    if match is None:
        return None
    season, first = int(match["season"]), int(match["episode"])
    if match.groupdict().get("half"):
        return _of_season(match, 0, ())
    episodes, end, other = _more(text, match.end(), season, first)
    if other is not None:
        return Found(match.start(), end, (), None, tuple(sorted({season, other})))
    return _of_season(match, season, episodes, end)


def _more(text: str, end: int, season: int, first: int) -> tuple[tuple[int, ...], int, int | None]:
    """Read what goes on counting after a first episode, up to one of another season."""
    episodes = [first]
    while True:
        marked = rules.MORE_MARKED.match(text, end)
        if marked:
            other = marked["s"] or marked["n"]
            if other is not None and int(other) != season:
                joined = marked["s"] and marked[0][0] in "-sS"
                return tuple(episodes), end, int(other) if joined else None
            if marked[0][0] == " " and int(marked["episode"]) - episodes[-1] > MOST_SPACED:
                # `S05E53 - Ep.129`: the same episode counted from the first season on.
                break
            added = _reach(episodes[-1], int(marked["episode"]), marked["link"])
            end = marked.end()
        else:
            bare = rules.MORE_BARE.match(text, end)
            if bare is None:
                break
            digits = bare["to"] or bare["to_w"] or bare["to_v"] or bare["and"]
            added = _reach(episodes[-1], int(digits), "&" if bare["and"] else "-")
            absolute = len(digits) > 2 and episodes[-1] < 90
            next_only = bare[0][0] in "_ " and bare["and"] and added != [episodes[-1] + 1]
            released = begins_with_release(text, bare.end() - len(digits))
            if not added or absolute or next_only or released:
                break
            end = bare.end()
        episodes += added
    return tuple(sorted(set(episodes))), end, None


def _reach(first: int, last: int, link: str | None) -> list[int]:
    """Return the numbers after `first` up to `last`, all of them where the link is a range."""
    if link is not None and link.casefold() in rules.TO_WORDS:
        return list(range(first + 1, last + 1)) if last - first <= MOST_EPISODES_IN_A_FILE else []
    return [last]


def absolute_before(text: str, found: Found) -> int | None:
    """Return where the absolute number begins that stands before season and episode.

    What might be the title's, `The 100` or `Studio 60`, is not taken for one: it follows a dash or
    its word, begins with a zero, or is as large as seasons of common length would make it.
    """
    match = None
    if found.start > 3 and (text[found.start - 2].isdecimal() or text[found.start - 2] in " -._"):
        match = rules.ABSOLUTE_BEFORE.search(text, max(0, found.start - 16), found.start)
    if match is None or found.season is None or not found.episodes:
        return None
    digits = match["dashed"] or match["told"] or match["plain"]
    number, before = int(digits), found.season - 1
    if (len(digits) == 4 and is_year(number)) or not _WORD.search(text, 0, match.start()):
        return None
    plausible = before > 0 and 10 <= (number - found.episodes[0]) / before <= 60
    article = ARTICLE_AT_END.search(text[: match.start()])
    sure = match["dashed"] or match["told"] or digits[0] == "0" or (plausible and not article)
    return match.start() if sure else None


_MONTHS = [re.compile("|".join(words), re.IGNORECASE) for words in rules.MONTHS]


def find_date(text: str, written: tuple[re.Pattern[str], ...] = rules.DATES) -> Found | None:
    """Find the date of a daily show: `2010-05-23`, `20100523`, `23.05.2010`, `23rd May 2010`."""
    for match in (match for rule in written for match in rule.finditer(text)):
        month, day, year = match["month"], int(match["day"]), int(match["year"])
        number = int(month) if month.isdecimal() else _month(month)
        year += 0 if year > 99 else 2000
        for first, second in ((number, day), (day, number)):
            with suppress(ValueError):
                if is_year(year):
                    return Found(*match.span(), date=datetime.date(year, first, second))
    return None


def _month(word: str) -> int:
    return next(number for number, words in enumerate(_MONTHS, 1) if words.fullmatch(word))


@lru_cache(maxsize=64)
def find_worded(text: str) -> Found | None:
    """Find numbers told in words: `Season 1 Episode 2`, `2. Staffel`, `Серия 11`, `3of6`."""
    small = lower(text)
    both = rules.SEASON_THEN_EPISODE.search(small) or rules.SEASON_DOT_EPISODE.search(small)
    if both:
        last = int(both["episode"])
        first = int(both.groupdict().get("from") or last)
        return _of_season(both, int(both["season"]), (first, *_reach(first, last, "-")))
    season, episode = find_season(text), rules.EPISODE.search(small)
    if season and episode and episode.start() < season.end and season.start < episode.end():
        episode = rules.EPISODE.search(small, season.end)
    if episode is None or (season is not None and season.episodes):
        return season
    numbers = _episode_numbers(episode)
    if season is None:
        half = 0 if episode["half"] or episode["ehalf"] else None
        return Found(*episode.span(), numbers, half)
    if season.season and episode[0][:3] == "cap":
        # `Temporada 4 [Cap.408]` is the eighth.
        numbers = tuple(n % 100 if n // 100 == season.season and n % 100 else n for n in numbers)
    start, end = min(season.start, episode.start()), max(season.end, episode.end())
    return replace(season, start=start, end=end, episodes=numbers)


def find_whole(text: str) -> Found | None:
    """Take a name that is nothing but a number and its word: `第03話`, `Episode 3`."""
    match = rules.EPISODE.fullmatch(lower(text.strip()))
    return Found(0, len(text), numbers) if match and (numbers := _episode_numbers(match)) else None


def find_season(text: str) -> Found | None:
    """Find a season told in words, or several: `Season 2`, `S02`, `2nd Season`, `Seasons 1-5`."""
    small = lower(text)
    ordinal = rules.ORDINAL_SEASON.search(small)
    if ordinal:
        number = small_number(ordinal["number"] or ordinal["word"] or ordinal["cjk"]) or 0
        if ordinal["last"]:
            numbers = tuple(range(number, int(ordinal["last"]) + 1))
            return Found(*ordinal.span(), seasons=numbers)
        return _of_season(ordinal, number, ())
    match = rules.SEASON.search(text)
    if match:
        return _season_and_more(text, match)
    match = rules.SEASON_AFTER.search(small)
    return _of_season(match, int(match["number"]), ()) if match else None


def _season_and_more(text: str, match: re.Match[str]) -> Found:
    """Tell what follows a season's number: nothing, more seasons, or an episode.

    `Season 3 - 11` and `S2-07` name an episode; `Seasons 1-5`, `Season 1-5`, `S01-S07` and
    `S01-09 Complete` name seasons.
    """
    first = small_number(match["number"]) or 0
    one = rules.EPISODE_OF_SEASON.match(text, match.end())
    if one and not match["plural"] and _is_episode(text, match, one):
        return _of_season(match, first, (int(one[1]),), one.end())
    more = rules.SEASON_LIST.match(text, match.end())
    numbers = _spread(first, more[0] if more else "")
    end = more.end() if more else match.end()
    while (
        (following := rules.NEXT_SEASON.match(text, end))
        and int(following[1]) == numbers[-1] + 1
        and not following[1].startswith("0")
    ):
        numbers, end = (*numbers, int(following[1])), following.end()
    season = first if len(numbers) == 1 else None
    return Found(match.start(), end, season=season, seasons=numbers)


def _is_episode(text: str, season: re.Match[str], number: re.Match[str]) -> bool:
    if rules.SEASON_PACK.search(text):
        return False
    longer = len(number[1]) > len(season["number"])
    first = small_number(season["number"]) or 0
    return number[0][0] in " ._" or longer or int(number[1]) <= first


def _episode_numbers(match: re.Match[str]) -> tuple[int, ...]:
    if match["half"] or match["ehalf"]:
        # An episode 7.5 is a recap between two episodes, which no database numbers so.
        return ()
    held = rules.HELD.match(match.string, match.start())
    if held:
        return tuple(range(1, int(held["held"]) + 1))
    if match["from"] and (counted := _reach(int(match["from"]), int(match["before"]), "-")):
        return (int(match["from"]), *counted)
    listed = match["list"] or match["elist"] or match["hlist"] or ""
    first = next(filter(None, match.group("number", "e", "before", "cjk", "hash", "of")))
    return _spread(small_number(first) or 0, listed)


_LINKED = re.compile(r"([^0-9]*?)(?:s|ep?)?([0-9]+)", re.IGNORECASE)


def _spread(first: int, rest: str) -> tuple[int, ...]:
    """Expand `1-5`, `1 to 5`, `1, 2 & 3` and `1 2 3` to all their numbers."""
    numbers = [first]
    for link, digits in _LINKED.findall(rest):
        words = re.split(r"[\s._]+", link.casefold())
        ranged = any(word in rules.TO_WORDS for word in words) or re.search(r"[-–~:]", link)
        numbers += _reach(numbers[-1], int(digits), "-" if ranged else None)
    return tuple(sorted(set(numbers)))


def find_chapter(text: str) -> Found | None:
    """Find season and episode in one number, as Spanish releases write it: `[Cap.103]`."""
    match = rules.CHAPTER.search(text)
    if match is None:
        return None
    season, first = divmod(int(match["first"]), 100)
    last = int(match["last"] or match["first"]) - 100 * season
    if not (first and 0 <= last < 100):
        return None
    found = _of_season(match, season, (first, *_reach(first, last, "-")))
    named = find_season(text[: match.start()])
    return replace(found, start=named.start) if named else found


def find_scene(text: str) -> Found | None:
    """Find season and episode as broadcast releases write them: `117`, `101.102`, `10708`."""
    match = rules.SCENE.match(text) or rules.SCENE_PAIR.search(text)
    if match is None:
        return None
    start, told = match.start("numbers"), match["numbers"]
    joined = len(told) > 4 and told.isdecimal()
    if joined:
        told = f"{told[:-2]}.{told[:-4]}{told[-2:]}"
    numbers = [int(part) for part in re.split(r"[ ._-]", told)]
    while len(numbers) > 1 and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        start += len(str(numbers.pop(0))) + 1
    season, first = divmod(numbers[0], 100)
    apart = joined or match.re is rules.SCENE_PAIR or is_year(numbers[0])
    if (apart and len(numbers) == 1) or not first or numbers[-1] // 100 != season:
        return None
    episodes = tuple(number % 100 for number in numbers)
    return Found(start - 1, match.end(), episodes, season, (season,))


def find_pair(text: str, rule_set: tuple[re.Pattern[str], ...]) -> Found | None:
    """Find season and episode side by side: `2-06 Title`, `Show_03_19`, `Show [5.134]`."""
    for rule in rule_set:
        match = rule.search(text)
        if match:
            season, episode = int(match["season"]), int(match["episode"])
            if rule is rules.PAIRS[-1] and episode - season < 4:
                continue
            episodes, end, _ = _more(text, match.end("episode"), season, episode)
            return _of_season(match, season, episodes, max(end, match.end()))
    return None


def find_special(text: str) -> Found | None:
    """Find the number of a special: `Show - SP01`, `Show - OVA - 02`."""
    small = lower(text)
    if beside := rules.BESIDE.search(small):
        return Found(beside.start("word"), beside.end(), season=0)
    match = rules.SPECIAL.search(small) or rules.SPECIAL_BEHIND.search(small)
    numbers = () if match is None or match["half"] else (int(match["number"]),)
    return _of_season(match, 0, numbers) if match else None


def find_part(text: str, rule: re.Pattern[str] = rules.PART) -> Found | None:
    """Find the part of a mini-series: `Part 2`, `Part Two`, `Teil II`."""
    match = rule.search(text)
    number = small_number(match["part"]) if match else None
    return Found(*match.span(), (number,)) if match and number else None


# Numbers that stand alone


def _numbered(match: re.Match[str] | None) -> Found | None:
    """Return the numbers of a match; None when they cannot be episodes."""
    if match is None:
        return None
    first, last = int(match["first"]), match["last"]
    found = Found(*match.span(), (first,))
    if match["half"]:
        return None if last else replace(found, episodes=(), season=0)
    if len(match["first"]) == 4 and is_year(first):
        return None
    if last is None:
        return found if len(match["first"]) < 5 else None
    reach = int(last) - first
    if match["between"] and reach != match["between"].count("-") + 1:
        # `14-07-22`
        return None
    if len(last) == 4 and is_year(int(last)) and reach > MOST_EPISODES_IN_A_FILE:
        # `10 - 1984`: a year that is a title.
        return found
    if not 0 < reach <= MOST_EPISODES_IN_A_FILE:
        return None
    if re.search(r"[&+,]", match[0]):
        return replace(found, episodes=(first, int(last)))
    return replace(found, episodes=tuple(range(first, int(last) + 1)))


def find_alone(text: str) -> Found | None:
    """Take a name that is nothing but a number: `03`, `E03`, `03-04`, `[03]`, `03v2`."""
    return _numbered(rules.ALONE.match(text))


def find_leading(text: str) -> Found | None:
    """Find a number at the beginning: `03 - Title`, `03. Title`, `03 Title`, `03 & 04 - Title`."""
    two = rules.LEADING_TWO.match(text)
    if two and int(two["last"]) == int(two["first"]) + 1:
        return Found(*two.span(), (int(two["first"]), int(two["last"])))
    return _numbered(rules.LEADING.match(text))


def is_leading_certain(text: str) -> bool:
    """Tell whether a number at the beginning counts rather than belongs to a title.

    `02 Title` and `102 - Title` count; `12 Monkeys` may be a title.
    """
    match = rules.LEADING.match(text)
    first, gap = match.group("first", "gap") if match else ("", "")
    return first.startswith("0") or ". " in gap or ("-" in gap and len(gap) > 1)


def find_of_season(text: str, season: int) -> Found | None:
    """Find a season's number and the episode's at the beginning: `2005 - Title` in season 20."""
    match = re.match(rf"\s*{season:02}(?P<episode>[0-9]{{2}})(?![^\W_])", text)
    number = int(match["episode"]) if match else 0
    return Found(0, match.end(), (number,)) if match and number else None


def find_last_dashed(text: str) -> Found | None:
    """Find the number that ends a name after a dash and words: `86 - Title - 03`."""
    match = rules.LAST_DASHED.match(text)
    found = _numbered(match)
    return replace(found, start=match.start("first")) if match and found else None


def find_after_title(text: str, *, titled: bool = False) -> Found | None:
    """Find a number after a title: ` - 03`, `[03]`, `Title 03 [`.

    `titled` when the title stands before the text.
    """
    dashed = [found for match in rules.DASHED.finditer(text) if (found := _numbered(match))]
    # A word after the number may make it a part of the title: `Show - 100 Years - 05`.
    closed = [found for found in dashed if rules.CLOSED.match(text, found.end)]
    if dashed:
        return (closed or dashed)[0]
    for rule in (rules.BRACKETED, rules.BEFORE_BRACKET):
        for match in rule.finditer(text):
            found = _numbered(match)
            if found and (titled or any(map(str.isalpha, text[: found.start]))):
                return found
    return None


def find_inside(text: str) -> Found | None:
    """Find the one number of two or more digits between words: `Title 03 name`."""
    inner = (match for match in rules.INNER.finditer(text) if len(match["first"]) > 1)
    behind_words = (match for match in inner if any(map(str.isalpha, text[: match.start()])))
    found = list(filter(None, map(_numbered, behind_words)))
    return found[0] if len(found) == 1 else None
