"""What the folders above a file say: show, season, extras, disc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from haas_media.identification import rules, titles
from haas_media.identification.junk import is_junk
from haas_media.identification.numbers import find_marked, find_season
from haas_media.identification.rules import small_number

_EXTRAS = {
    name: kind
    for kind, names in {
        "other": "extras|extra|bonus|bonus disc|bonus disk|bonus features|special features"
        "|bonus material|bonusmaterial|bonus dvd|specialfeatures|supplements|other|others|nc"
        "|menus|menu|extra's",
        "trailer": "trailers|trailer|bande annonce|bandes annonces",
        "sample": "samples|sample|proof",
        "featurette": "featurettes|featurette",
        "behindthescenes": "behind the scenes|behindthescenes|making of",
        "deleted": "deleted scenes|deleted and extended scenes|deletedscenes|deleted",
        "interview": "interviews|interview",
        "scene": "scenes|scene",
        "short": "shorts|short",
        "clip": "clips",
        "theme": "theme music|themes|backdrops|nced|ncop|creditless|openings|endings",
    }.items()
    for name in names.split("|")
}


_WORDS = re.compile(r"[\s._-]+")
_MAY_BE_CREDITS = re.compile(
    "nc|pv|less|clean|menu|credit|cm|trailer|teaser|preview| - (?:op|e)", re.I
).search
# `1. Season One`, `The Complete Second Season`
_NO_TITLE = re.compile(r"[0-9]{1,2}\s*[.)-]|(?:the[ ._]+)?complete[ ._]*|the[ ._]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Season:
    """A folder that is a season's; `title` is what stands before the season in its name."""

    number: int
    title: str = ""


@lru_cache(maxsize=8192)
def season_of(folder: str) -> Season | None:
    """Read a season folder: `Season 2`, `S02`, `Specials`, `Show S02 1080p`, `Staffel 2`."""
    name = folder.strip()
    bare = titles.cut_release(name).rstrip(" ._-[(")
    specials = rules.SPECIALS_FOLDER.match(name) or rules.SPECIALS_FOLDER.match(bare)
    if specials:
        return Season(0, specials["show"] or "")
    if name.isdecimal() and len(name) <= 2:
        return Season(int(name))
    whole = rules.SEASON_FOLDER.match(name)
    if whole:
        number = small_number(whole["word"] or whole["cjk"])
        return None if number is None else Season(number)
    found = find_season(name)
    if found is None:
        return None
    title = name[: found.start].rstrip(" ([")
    return Season(found.seasons[0], "" if _NO_TITLE.fullmatch(title) else title)


@lru_cache(maxsize=8192)
def is_disc(folder: str) -> bool:
    """Tell whether a folder only belongs to the structure of a disc, or is one of several."""
    return bool(rules.DISC.match(folder))


def _is_owned(folders: list[str]) -> bool:
    return not all(map(is_generic, folders))


def _is_none(folders: list[str], stem: str) -> bool:
    """Tell whether a folder of no title is none of extras: it sorts films, or is a show's."""
    sorts = folders[0].casefold() in ("other", "others", "short", "shorts")
    # `Proof/Proof (2005)`
    called = bool(rules.YEAR_IN_BRACKETS.search(stem)) and stem.startswith(folders[0])
    numbered = any(map(season_of, folders[1:])) or find_marked(stem) is not None
    return sorts or called or numbered


def _is_called(folder: str, stem: str, *, whole: bool) -> bool:
    begins = folder.casefold().startswith(stem.casefold())
    return begins and (whole or len(folder) > len(stem))


def part_of(folders: list[str]) -> int | None:
    """Return which of several discs the nearest folder is, if it is one."""
    disc = rules.DISC.fullmatch(folders[-1]) if folders else None
    number = disc and not disc["more"] and (disc["number"] or disc["part"])
    return int(number) if number else None


def extra_of(folders: list[str], stem: str) -> tuple[str, list[str], str] | None:
    """Return the kind of extra, and the folders and the name of the title it is an extra of."""
    for depth in range(len(folders) - 1, -1, -1):
        kind = _EXTRAS.get(" ".join(_WORDS.split(folders[depth].casefold())).strip())
        if kind and (_is_owned(folders[:depth]) or not _is_none(folders[depth:], stem)):
            return kind, folders[:depth], ""
    untitled = (rules.CREDITLESS,) if _MAY_BE_CREDITS(stem) else ()
    for rule in (rules.EXTRA_SUFFIX, *untitled, rules.EXTRA_OF_SEASON, rules.EXTRA_WHOLE):
        match = rule.search(stem)
        # `Making Of (2016)/Making Of` and `A Trailer (2014)/A Trailer` are called that.
        if match and not (folders and _is_called(folders[-1], stem, whole=match.start() == 0)):
            return match.lastgroup or "theme", folders, stem[: match.start()]
    return None


@lru_cache(maxsize=8192)
def is_generic(folder: str) -> bool:
    """Tell whether a folder sorts titles (`Movies`, `A-F`, `2010s`, `01-03`) and names none."""
    folded = "".join(filter(str.isalnum, folder.casefold()))
    if folded in rules.GENERIC or not folded:
        return True
    counting = rules.COUNTING_FOLDER.match(folder.strip())
    if counting and int(counting["first"]) < int(counting["last"]):
        return True
    return bool(rules.SORTING.fullmatch(folder.strip().casefold())) or is_junk(folder)
