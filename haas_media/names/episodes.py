"""Find season and episode numbers, and dates, in a file's name."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from haas_media.names.release import begins_with_release, lower
from haas_media.names.words import is_year, small_number

MOST_EPISODES_IN_A_FILE = 200
"""A longer range is two numbers that have nothing to do with each other."""

MOST_SPACED = 30
"""What stands apart, `S01E01 - E12`, covers no more than a season."""


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers found in a name, and where in the text they stand."""

    start: int
    end: int
    episodes: tuple[int, ...] = ()
    season: int | None = None
    seasons: tuple[int, ...] = ()
    date: datetime.date | None = None


_NOT_IN_WORD = r"(?<![^\W_])"
_TAIL = r"(?:[a-d](?![^\W_]))?(?:[ ._]?v[0-9](?![^\W_]))?"
# Matched against text in small letters, which is faster than ignoring case.
_SXXEYY = re.compile(
    rf"{_NOT_IN_WORD}(?:s|sn|se|t)[ ._]?(?P<season>[0-9]{{1,4}})"
    rf"[ ._,\[\]-]{{0,3}}(?:x?e|ep|xep?|x|cap)[ ._#-]?(?P<episode>[0-9]{{1,4}})(?![0-9]){_TAIL}",
)
_NXNN = re.compile(
    rf"(?<![0-9])(?P<season>[0-9]{{1,2}})(?:[xх×]|[ ._]?x[ ._]?(?=[0-9]{{2}}))"
    rf"(?P<episode>(?!26[456])[0-9]{{2,3}}|[0-9](?=[ ]?-[ ]?(?:[0-9]{{1,2}})?x))(?![0-9]){_TAIL}",
)
# A season that is a year: with three digits after it, `1920x800` is a picture's size.
_YEARXNN = re.compile(
    rf"{_NOT_IN_WORD}(?P<season>(?:19|20)[0-9]{{2}})x(?P<episode>[0-9]{{2}})(?![^\W_])"
)
_NNENN = re.compile(
    rf"{_NOT_IN_WORD}(?P<season>[0-9]{{2}})[ ._]?e(?P<episode>[0-9]{{2,3}})(?![^\W_]){_TAIL}",
)
_MORE_MARKED = re.compile(
    rf"[ ._]{{0,2}}(?P<link>[-–~+&,]|and|to|a)?[ ._]{{0,2}}"
    rf"(?:s(?P<s>[0-9]{{1,4}})[ ._]?)?(?:(?P<n>[0-9]{{1,2}})[xх]|ep?[ ._]?|x)(?!26[456])"
    rf"(?P<episode>[0-9]{{1,4}})(?![0-9]){_TAIL}",
    re.IGNORECASE,
)
_MORE_BARE = re.compile(
    rf"(?:[-–~](?P<to>[0-9]{{1,4}})|[ ]?[+&,][ ]?(?P<and>[0-9]{{1,4}}))(?![^\W_])(?![.][0-9])"
    rf"|{_TAIL}[-–~](?P<to_v>[0-9]{{2,4}})(?![^\W_])",
    re.IGNORECASE,
)
_ISO_DATE = re.compile(
    r"(?<![0-9A-Za-z])((?:19|20)[0-9]{2})(?P<sep>[-._ /]?)"
    r"(0[1-9]|1[0-2])(?P=sep)(0[1-9]|[12][0-9]|3[01])(?![0-9])"
)
_OTHER_DATE = re.compile(
    r"(?<![0-9A-Za-z])([0-3][0-9])([-._ ])([0-3][0-9])\2((?:19|20)[0-9]{2})(?![0-9])"
)
_CJK_DATE = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})年([01]?[0-9])月([0-3]?[0-9])日")
# `14.3.2012`: no number may stand right before it (`v1.14.3.2012`).
_SHORT_DATE = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9][.])([0-3]?[0-9])([-._/])([01]?[0-9])\2((?:19|20)[0-9]{2})(?![^\W_])"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?"
_GAP = r"[ ._,-]{1,3}"
_WORDED_YEAR = r"(?P<year>(?:19|20)[0-9]{2})(?![^\W_])"
_WEEKDAY = rf"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?{_GAP})?"
# `26th Feb 2009`, `Monday, March 14, 2012`, `2012 Mar 14`.
_WORDED_DATES = tuple(
    re.compile(rf"(?<![^\W_]){_WEEKDAY}{date}", re.IGNORECASE)
    for date in (
        rf"{_DAY}{_GAP}(?:of{_GAP})?{_MONTH}{_GAP}{_WORDED_YEAR}",
        rf"{_MONTH}{_GAP}{_DAY}{_GAP}{_WORDED_YEAR}",
        rf"(?P<year>(?:19|20)[0-9]{{2}}){_GAP}{_MONTH}{_GAP}{_DAY}(?![^\W_])",
    )
)
_SEASON_WORD = (
    r"seasons?|series|saisons?|staffel|temporadas?|temp?|stagion[ei]|сезон[ыа]?|sezon(?:[iy]|ul)?|sez|série|seizoen|säsong"
    r"|sæson|sesong|kausi|évad|シーズン|시즌|الموسم"
)
_EPISODE_WORD = (
    r"episodes?|eps?|eipsode|folgen?|capitulos?|capítulos?|cap|episodios?|episódios?|episodul|épisodes?"
    r"|сери[яий]|сер|эпизоды?|seri[jyi]?[ai]|seri[ij]|ser|bölüm|bolum|aflevering|avsnitt|odcinek"
    r"|odc|jakso|afsnit|chapter|chap|díl|rész|الحلقة"
)
_LIST = (
    r"(?P<list>(?:(?:[-–~](?:ep?)?|[ ._]*(?:[&+,]|to|and|à|bis|по)[ ._,&]*)[0-9]{1,4}(?![^\W_]))*)"
)
_ALL = r"(?:(?:the[ ._]+)?(?:complete|all)[ ._]+)?"
_NUMBERED_FIRST = re.compile(
    rf"{_NOT_IN_WORD}(?P<season>[0-9]{{1,2}})[ ._-]*(?:{_SEASON_WORD})[ ._-]+"
    rf"(?P<episode>[0-9]{{1,4}})[ ._-]*(?:{_EPISODE_WORD})(?![^\W_])"
    r"(?![ ._]*[0-9]{1,3}(?![^\W_]))",
    re.IGNORECASE,
)
_ORDINAL_SEASON = re.compile(
    rf"""{_NOT_IN_WORD}(?:
    (?P<number>[0-9]{{1,2}})[ ]?(?:st|nd|rd|th|[aªº°]|-?(?:й|я|го|ый|ий))[ ._-]*(?:{_SEASON_WORD})
    |(?P<word>first|second|third|fourth|fifth|sixth)[ ._-]season
    |(?:第[ ]?)?(?P<cjk>[0-9]{{1,2}}|[一二三四五六七八九十])[ ]?[季期]
    )(?![^\W_])""",
    re.IGNORECASE | re.VERBOSE,
)
_SEASON = re.compile(
    rf"{_ALL}{_NOT_IN_WORD}(?:(?:(?P<plural>seasons|saisons|temporadas|stagioni|сезон[ыа]|sezon[iy])"
    rf"|{_SEASON_WORD})[ ._:;№#(-]*s?|s)"
    rf"(?P<number>[0-9]{{1,4}}|(?-i:[IVX]{{1,5}}))(?:d[0-9]{{1,2}})?(?![^\W_])",
    re.IGNORECASE,
)
_SEASON_AFTER = re.compile(
    rf"{_NOT_IN_WORD}(?P<number>[0-9]{{1,2}})[ ._-]*(?:{_SEASON_WORD})(?![^\W_])", re.IGNORECASE
)
_SEASON_LIST = re.compile(
    r"(?:[ ._]*(?:[-–~:+&,/]+|to|and|à|bis|по)[ ._,&]*s?[0-9]{1,2}(?![^\W_]))*",
    re.IGNORECASE,
)
_NEXT = re.compile(r"[ ]([0-9]{1,2})(?![^\W_])")
_ONE_EPISODE = re.compile(
    r"[ ._]*[-–][ ._]*([0-9]{1,4})(?:v[0-9])?(?![^\W_])(?![ ._]*[-–&,][ ._]*[0-9])"
)
_PACK = re.compile(
    r"(?<![^\W_])(?:complete|seasons|series|int[eé]grale?|pack|box ?set)(?![^\W_])", re.I
)
_EPISODE = re.compile(
    rf"""(?:
    {_NOT_IN_WORD}(?:{_EPISODE_WORD})[ ._:№\#-]{{0,3}}
      (?P<number>[0-9]{{1,4}})(?P<half>\.[0-9](?![0-9]))?{_TAIL}{_LIST}
      (?:[ ._]?of[ ._]?[0-9]{{1,3}})?
    |{_NOT_IN_WORD}e(?P<e>[0-9]{{2,4}})(?P<ehalf>\.[0-9](?![0-9]))?{_TAIL}
      (?P<elist>(?:(?:[-–~]e?|[ ]?[-–~&+]?[ ]?e)[0-9]{{2,4}}(?![^\W_]))*)
    |{_NOT_IN_WORD}(?P<before>[0-9]{{1,4}})(?:-?(?:я|й))?[ ._-]*(?:{_EPISODE_WORD})
      (?![ ._:\#-]{{1,3}}[0-9]{{1,3}}(?![^\W_]))
    |(?:第[ ]?|제?[ ]?(?=[0-9]{{1,4}}[ ]?[화회]))(?P<cjk>[0-9]{{1,4}})[ ]?[話话集回화회]
    |\#(?P<hash>[0-9]{{1,4}}){_TAIL}
    |{_NOT_IN_WORD}(?:cd|part|pt)?[ ._]?(?P<of>[0-9]{{1,3}})[ ._]?(?:of|iz|из|von)[ ._]?[0-9]{{1,3}}
    )(?![^\W_])""",
    re.IGNORECASE | re.VERBOSE,
)
_CHAPTER = re.compile(
    r"\[cap[. ]?(?P<first>[1-9][0-9]{2,3})(?:[-_](?P<last>[1-9][0-9]{2,3}))?\]", re.IGNORECASE
)
_CROSSED = re.compile(
    r"(?:^|(?<=[\s._\[(-]))(?!16x9|4x3)(?P<season>[0-9]{1,2})x(?P<episode>[0-9])(?![^\W_])",
    re.IGNORECASE,
)
_SPECIAL = re.compile(
    rf"{_NOT_IN_WORD}(?:sp|specials?)[ ._-]?([0-9]{{1,2}})(?![^\W_])", re.IGNORECASE
)
_PART = re.compile(
    rf"{_NOT_IN_WORD}(?:part|pt|teil|partie|parte|часть|del|deel|night)[ ._-]?"
    r"(?P<part>[0-9]{1,2}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten)(?![^\W_])",
    re.IGNORECASE,
)
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}


def find_marked(text: str) -> Found | None:
    """Find `S01E02`, `1x02` and their multi-episode forms: what needs no context to be sure of."""
    small = lower(text)
    match = _SXXEYY.search(small) or _NXNN.search(small) or _NNENN.search(small)
    match = match or _YEARXNN.search(small)
    if match is None:
        return None
    season = int(match["season"])
    episodes, end = _more(text, match.end(), season, int(match["episode"]))
    return Found(match.start(), end, episodes, season, (season,))


def _more(text: str, end: int, season: int, first: int) -> tuple[tuple[int, ...], int]:
    """Read what follows a first episode number as long as it goes on counting episodes."""
    episodes = [first]
    while True:
        marked = _MORE_MARKED.match(text, end)
        if marked:
            other = marked["s"] or marked["n"]
            if other is not None and int(other) != season:
                break
            if marked[0][0] == " " and int(marked["episode"]) - episodes[-1] > MOST_SPACED:
                # `S05E53 - Ep.129`: the same episode counted from the first season on.
                break
            added = _reach(episodes[-1], int(marked["episode"]), marked["link"])
            end = marked.end()
        else:
            bare = _MORE_BARE.match(text, end)
            if bare is None:
                break
            last = int(bare["to"] or bare["to_v"] or bare["and"])
            added = _reach(episodes[-1], last, "&" if bare["and"] else "-")
            if not added or begins_with_release(text, bare.end() - len(bare[0].lstrip("-–~+&, "))):
                break
            end = bare.end()
        episodes += added
    return tuple(sorted(set(episodes))), end


def _reach(first: int, last: int, link: str | None) -> list[int]:
    """Return the numbers after `first` up to `last`, all of them where the link is a range."""
    if link is not None and link.casefold() in ("-", "–", "~", "to", "a"):
        return list(range(first + 1, last + 1)) if last - first <= MOST_EPISODES_IN_A_FILE else []
    return [last]


def find_date(text: str) -> Found | None:
    """Find the date of a daily show: `2010-05-23`, `20100523`, `23.05.2010`, `23rd May 2010`."""
    for match in _ISO_DATE.finditer(text):
        year, month, day = int(match[1]), int(match[3]), int(match[4])
        date = _date(year, month, day)
        if date:
            return Found(match.start(), match.end(), date=date)
    for match in _CJK_DATE.finditer(text):
        date = _date(int(match[1]), int(match[2]), int(match[3]))
        if date:
            return Found(match.start(), match.end(), date=date)
    for pattern in (_OTHER_DATE, _SHORT_DATE):
        for match in pattern.finditer(text):
            first, second, year = int(match[1]), int(match[3]), int(match[4])
            date = _date(year, second, first) or _date(year, first, second)
            if date:
                return Found(match.start(), match.end(), date=date)
    for pattern in _WORDED_DATES:
        match_in_words = pattern.search(text)
        if match_in_words:
            month = _MONTHS.index(match_in_words["month"][:3].casefold()) + 1
            date = _date(int(match_in_words["year"]), month, int(match_in_words["day"]))
            if date:
                return Found(match_in_words.start(), match_in_words.end(), date=date)
    return None


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day) if is_year(year) else None
    except ValueError:
        return None


def find_worded(text: str) -> Found | None:
    """Find numbers told in words: `Season 1 Episode 2`, `2. Staffel`, `Серия 11`, `3of6`."""
    both = _NUMBERED_FIRST.search(text)
    if both:
        number = int(both["season"])
        return Found(both.start(), both.end(), (int(both["episode"]),), number, (number,))
    season, episode = _season(text), _EPISODE.search(text)
    if episode is not None and season is not None and _within(episode, season):
        episode = _EPISODE.search(text, season.end)
    if episode is None or (season is not None and season.episodes):
        return season
    numbers = _episode_numbers(episode)
    if season is not None and season.season and episode[0][:3].casefold() == "cap":
        numbers = tuple(_without_season(number, season.season) for number in numbers)
    if season is None:
        return Found(episode.start(), episode.end(), numbers)
    return Found(
        min(season.start, episode.start()),
        max(season.end, episode.end()),
        numbers,
        season.season,
        season.seasons,
    )


def _without_season(number: int, season: int) -> int:
    """Read the season's own number off an episode's: `Temporada 4 [Cap.408]` is the eighth."""
    return number % 100 if number // 100 == season and number % 100 else number


def _within(match: re.Match[str], found: Found) -> bool:
    return match.start() < found.end and found.start < match.end()


def find_whole(text: str) -> Found | None:
    """Take a name that is nothing but a number and its word: `第03話`, `Episode 3`."""
    match = _EPISODE.fullmatch(text.strip())
    return Found(0, len(text), numbers) if match and (numbers := _episode_numbers(match)) else None


def _season(text: str) -> Found | None:
    ordinal = _ORDINAL_SEASON.search(text)
    if ordinal:
        word = (ordinal["word"] or "").casefold()
        number = _ORDINALS.get(word) or small_number(ordinal["number"] or ordinal["cjk"]) or 0
        return Found(ordinal.start(), ordinal.end(), season=number, seasons=(number,))
    match = _SEASON.search(text)
    if match:
        return _season_and_more(text, match)
    match = _SEASON_AFTER.search(text)
    if match is None:
        return None
    number = int(match["number"])
    return Found(match.start(), match.end(), season=number, seasons=(number,))


def _season_and_more(text: str, match: re.Match[str]) -> Found:
    """Tell what follows a season's number: nothing, more seasons, or an episode.

    `Season 3 - 11` and `S2-07` name an episode; `Seasons 1-5`, `Season 1-5`, `S01-S07` and
    `S01-09 Complete` name seasons.
    """
    first = small_number(match["number"]) or 0
    one = _ONE_EPISODE.match(text, match.end())
    if one and not match["plural"] and _is_episode(text, match, one):
        return Found(match.start(), one.end(), (int(one[1]),), first, (first,))
    more = _SEASON_LIST.match(text, match.end())
    numbers = _spread(first, more[0] if more else "")
    end = more.end() if more else match.end()
    while (following := _NEXT.match(text, end)) and int(following[1]) == numbers[-1] + 1:
        numbers, end = (*numbers, int(following[1])), following.end()
    return Found(
        match.start(),
        end,
        season=first if len(numbers) == 1 else None,
        seasons=numbers,
    )


def _is_episode(text: str, season: re.Match[str], number: re.Match[str]) -> bool:
    spaced = number[0][0] in " ._"
    if _PACK.search(text, number.end()) or _PACK.search(text[: season.start()]):
        return False
    return (
        spaced
        or len(number[1]) > len(season["number"])
        or int(number[1]) <= (small_number(season["number"]) or 0)
    )


def _episode_numbers(match: re.Match[str]) -> tuple[int, ...]:
    first = match["number"] or match["e"] or match["before"] or match["cjk"]
    if match["half"] or match["ehalf"]:
        # An episode 7.5 is a recap between two episodes, which no database numbers so.
        return ()
    return _spread(
        int(first or match["hash"] or match["of"]), (match["list"] or "") + (match["elist"] or "")
    )


_LINKED = re.compile(r"([^0-9]*?)(?:s|ep?)?([0-9]+)", re.IGNORECASE)


def _spread(first: int, rest: str) -> tuple[int, ...]:
    """Expand `1-5`, `1 to 5`, `1, 2 & 3` and `1 2 3` to all their numbers."""
    numbers = [first]
    for link, digits in _LINKED.findall(rest):
        value = int(digits)
        ranged = any(
            sign in link.casefold() for sign in ("-", "–", "~", ":", "to", "bis", "à", "по")
        )
        numbers += _reach(numbers[-1], value, "-" if ranged else None) or []
    return tuple(sorted(set(numbers)))


def find_chapter(text: str) -> Found | None:
    """Find season and episode in one number, as Spanish releases write it: `[Cap.103]`."""
    match = _CHAPTER.search(text)
    if match is None:
        return None
    season, first = divmod(int(match["first"]), 100)
    last_season, last = divmod(int(match["last"] or match["first"]), 100)
    if not first or last_season != season:
        return None
    numbers, named = (first, *_reach(first, last, "-")), _season(text[: match.start()])
    start = named.start if named else match.start()
    return Found(start, match.end(), numbers, season, (season,))


def find_crossed(text: str) -> Found | None:
    """Find an episode in one digit, `Show 1x5`: less sure than `1x05`, as the title `4x4` shows."""
    match = _CROSSED.search(text)
    if match is None:
        return None
    season = int(match["season"])
    return Found(match.start(), match.end(), (int(match["episode"]),), season, (season,))


def find_special(text: str) -> Found | None:
    """Find the number of a special: `Show - SP01`, `Show Special 2`."""
    match = _SPECIAL.search(text)
    return Found(match.start(), match.end(), (int(match[1]),), 0, (0,)) if match else None


def find_part(text: str) -> Found | None:
    """Find the part of a mini-series: `Part 2`, `Part Two`, `Teil II`."""
    match = _PART.search(text)
    number = small_number(match["part"]) if match else None
    return Found(match.start(), match.end(), (number,)) if match and number else None
