"""What the folders above a file say: show, season, extras, disc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from haas_media.names.junk import is_junk
from haas_media.names.words import small_number

_SEASON_WORDS = (
    r"season|series|saison|staffel|temporada|stagione|сезон|sezon|seizoen|säsong|sæson|sesong|kausi"
    r"|book|volume|livre|buch|libro|シーズン|évad|évfolyam|sorozat|saeson"
)
_SEASON = re.compile(
    rf"""^[\s._\[(-]*(?:
    (?:the[ ])?(?:complete[ ._-]+)?(?:{_SEASON_WORDS})[ ._:#-]*(?P<word>[0-9]{{1,4}}|[ivx]+|one|two
      |three|four|five|six|seven|eight|nine|ten)(?![^\W_])
    | s[ ._-]?(?P<short>[0-9]{{1,4}})(?![^\W_])
    | (?P<first>[0-9]{{1,2}})(?:st|nd|rd|th|[.ªº°])?[ ._-]*(?:{_SEASON_WORDS})(?![^\W_])
    | 第[ ]?(?P<cjk>[0-9]{{1,2}}|[一二三四五六七八九十])[ ]?[季期部]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE_SEASON = re.compile(r"^[0-9]{1,2}$")
_SPECIALS = re.compile(
    r"^(?:season[ ._-]*0+|s0+|specials?|spéciaux|specialer|extras? and specials|ovas?|oads?|sp)$",
    re.IGNORECASE,
)
_INSIDE = re.compile(
    rf"""(?:[\s._([-]+(?:(?:the[ ])?(?:complete[ ._-]+)?(?:{_SEASON_WORDS})[ ._:#-]*([0-9]{{1,3}})
    |s([0-9]{{1,2}})|([0-9]{{1,2}})(?:st|nd|rd|th|[.ªº°])?[ ._-]*(?:{_SEASON_WORDS})
      (?![ ._:\#-]*[0-9]{{1,2}}(?![0-9])))(?![^\W_]))
    |(?:第[ ]?)?([0-9]{{1,2}}|[一二三四五六七八九十])[ ]?[季期]""",
    re.IGNORECASE | re.VERBOSE,
)
_DISC = re.compile(
    r"^(?:video_ts|audio_ts|bdmv|stream|backup|certificate|(?:cd|dvd|bd|disc|disk|blu-?ray)"
    r"[ ._-]?[0-9]{1,2}(?:[ ._-].*)?)$",
    re.IGNORECASE,
)
_EXTRAS = {
    "extras": "other",
    "extra": "other",
    "bonus": "other",
    "bonus features": "other",
    "special features": "other",
    "specialfeatures": "other",
    "supplements": "other",
    "other": "other",
    "others": "other",
    "trailers": "trailer",
    "trailer": "trailer",
    "samples": "sample",
    "sample": "sample",
    "proof": "sample",
    "featurettes": "featurette",
    "featurette": "featurette",
    "behind the scenes": "behindthescenes",
    "behindthescenes": "behindthescenes",
    "making of": "behindthescenes",
    "deleted scenes": "deleted",
    "deleted and extended scenes": "deleted",
    "deletedscenes": "deleted",
    "deleted": "deleted",
    "interviews": "interview",
    "interview": "interview",
    "scenes": "scene",
    "scene": "scene",
    "shorts": "short",
    "short": "short",
    "clips": "clip",
    "theme-music": "theme",
    "theme music": "theme",
    "themes": "theme",
    "backdrops": "theme",
    "nc": "other",
    "nced": "theme",
    "ncop": "theme",
    "creditless": "theme",
    "menus": "other",
    "menu": "other",
}
_EXTRA_SUFFIX = re.compile(
    r"""(?:
    [-._ \[(](?P<trailer>(?i:trailer|teaser))
    | [-._\[(](?P<sample>(?i:sample))
    | [-.](?P<featurette>(?i:featurette))
    | [-.](?P<behindthescenes>(?i:behindthescenes|makingof))
    | [-.](?P<deleted>(?i:deleted(?:scenes?)?))
    | -(?P<interview>interview)
    | -(?P<scene>scene)
    | -(?P<short>short)
    | -(?P<clip>clip)
    | -(?P<other>other|extra|bonus)
    )s?[ ._-]?[0-9]{0,2}[\])]?$""",
    re.VERBOSE,
)
_EXTRA_WHOLE = re.compile(
    r"(?:(?P<trailer>(?:official[ ._-])?(?:trailer|teaser))|(?P<sample>sample)|(?P<theme>theme))"
    r"[ ._-]?[0-9]{0,2}|(?P<lead>sample)[-_.].+",
    re.IGNORECASE,
)
_GENERIC_WORDS = """
    movies films videos tv series shows tvshows tvseries anime animes cartoon cartoons kids
    children documentary documentaries docs docu docus download downloads complete completed
    incoming new unsorted sorted misc other others various todo watched unwatched media library
    torrents usenet temp tmp desktop documents mymovies myvideos stuff backup backups usb usbdrive
    usbstick harddrive harddisk action adventure comedy drama horror thriller scifi fantasy romance
    western crime mystery animation classics foreign concerts music sport sports reality
    miniseries hd uhd 4k 3d dvd bluray bdrip 1080p 720p 2160p 480p english german french spanish
    italian japanese korean chinese hindi russian collection collections 0 09
"""
_GENERIC = frozenset(_GENERIC_WORDS.split())


@dataclass(frozen=True, slots=True)
class Season:
    """A folder that is a season's; `title` is what stands before the season in its name."""

    number: int
    title: str = ""


@lru_cache(maxsize=8192)
def season_of(folder: str) -> Season | None:
    """Read a season folder: `Season 2`, `S02`, `Specials`, `Show S02 1080p`, `Staffel 2`."""
    name = folder.strip()
    if _SPECIALS.match(name):
        return Season(0)
    whole = _SEASON.match(name)
    if whole:
        text = whole["word"] or whole["short"] or whole["first"] or whole["cjk"]
        number = small_number(text)
        return None if number is None else Season(number)
    if _BARE_SEASON.match(name):
        return Season(int(name))
    inside = _INSIDE.search(name)
    if inside:
        value = small_number(next(group for group in inside.groups() if group))
        return None if value is None else Season(value, name[: inside.start()])
    return None


@lru_cache(maxsize=8192)
def is_disc(folder: str) -> bool:
    """Tell whether a folder only belongs to the structure of a disc."""
    return bool(_DISC.match(folder))


@lru_cache(maxsize=8192)
def extra_of_folder(folder: str) -> str | None:
    """Return the kind of extra that lies in a folder of this name."""
    return _EXTRAS.get(folder.strip(" ._-").replace("_", " ").casefold())


def extra_of_stem(stem: str) -> tuple[str, str] | None:
    """Return the kind of extra that a file's name tells, and the name without what tells it."""
    suffix = _EXTRA_SUFFIX.search(stem)
    if suffix and suffix.lastgroup:
        return suffix.lastgroup, stem[: suffix.start()]
    whole = _EXTRA_WHOLE.fullmatch(stem)
    if whole and whole.lastgroup:
        return ("sample", "") if whole.lastgroup == "lead" else (whole.lastgroup, "")
    return None


@lru_cache(maxsize=8192)
def is_generic(folder: str) -> bool:
    """Tell whether a folder sorts titles (`Movies`, `A-F`, `2010s`, `Sci-Fi`) and names none."""
    folded = "".join(filter(str.isalnum, folder.casefold()))
    if folded in _GENERIC or len(folded) == 0:
        return True
    sorting = re.fullmatch(
        r"[\[(#]?(?:[a-zа-я]|[a-z0-9#][ ]?-[ ]?[a-z0-9]|0-9|(?:19|20)[0-9]0s)[)\]]?",
        folder.strip(),
        re.I,
    )
    return bool(sorting) or is_junk(folder)
