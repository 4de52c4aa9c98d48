"""Read the name of a film's file or folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from haas_media.names.ids import edition_in, without_tags
from haas_media.names.numbers import find_alone
from haas_media.names.release import begins_with_release, find_release, without_leading_release
from haas_media.names.text import (
    best_title,
    is_all_brackets,
    pieces,
    title_of,
    trim_trailing,
    without_alternative,
    without_at_end,
    without_checksums,
    without_prefix,
)
from haas_media.names.words import EDITION, EDITION_AT_END, LABEL_AT_END, YEAR, is_year

_YEAR_IN_BRACKETS = re.compile(rf"[(\[][^()\[\]]*?(?<![0-9])({YEAR})(?![0-9])[^()\[\]]*[)\]]")
_PLAIN_YEAR_IN_BRACKETS = re.compile(rf"[(\[] *({YEAR}) *[)\]]")
_BARE_YEAR = re.compile(rf"(?<![^\W_])({YEAR})(?![^\W_])")
_YEARS = re.compile(
    rf"(?<![^\W_]){YEAR} ?[-–—] ?(?:{YEAR}(?![^\W_])|[0-9]{{2}}(?![^\W_-])|(?=[)\]]))"
)
_LEADING_YEAR = re.compile(rf"^[(\[]({YEAR})[)\]][\s._-]+(?=[^\W\d_])")
# A collection sorted by year: `1999 - Title`, with no other year in the name.
_SORTED_BY_YEAR = re.compile(rf"^({YEAR})(?: - |\. )(?=[^\W\d_])")
# Where a film stands in its collection: `02 - Title (2002)`, `2. Title (2002)`, `(2) Title (2002)`.
_PLACE = re.compile(r"^(?:[0-9]{1,2}(?: - |\. )|\([0-9]{1,2}\) ?|0[0-9] )(?=[^\W\d_])")
_SURE_PLACE = re.compile(r"^0[0-9] - (?=[^\W\d_])")
_VOLUME = re.compile(r"[\s_]+-[\s_]+Vol(?:ume)?[ ._]?[0-9]+(?:v[0-9])?[\s_]*$", re.IGNORECASE)
_PART = re.compile(
    r"(?:^|[ ._-]+)(?:cd|dvd|dis[ck])[ ._-]?([1-9]|[a-d])(?:[ ._-]?of[ ._-]?[1-9])?(?![^\W_])"
    r"|[._-](?:part|pt)[ ._-]?([1-9]|[a-d])$|[ ._]-[ ._](?:part|pt)([1-9])$",
    re.IGNORECASE,
)
_VERSION = re.compile(r"^\s+-\s+\[?([^\[\]]+?)\]?\s*$")
_COLLECTION = re.compile(
    r"(?<![^\W_])(?:collection|trilogy|quadrilogy|tetralogy|anthology|saga|box ?set|duology"
    r"|filmography|complete [0-9]+ movie.*)(?![^\W_])",
    re.IGNORECASE,
)
_COLLECTION_TAIL = re.compile(
    r"[\s._-]+(?:(?:complete[\s._-]+)?(?:[0-9]+[\s._-]+)?(?:movie[\s._-]+)?collection)\b.*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Film:
    """What one name says of a film.

    `certain` when it has the year beside the title, or is cut off by words of a release.
    """

    title: str | None
    year: int | None = None
    version: str | None = None
    part: int | None = None
    certain: bool = False
    released: bool = False
    curated: bool = False
    collection: bool = False


@lru_cache(maxsize=8192)
def film_of(name: str) -> Film:
    """Read the name of a folder, or of a file without its extension.

    Kept for a while: a folder is met once for each file in it, most often with the same name.
    """
    version = edition_in(name)
    text = without_tags(without_checksums(name))
    part = None
    found_part = _PART.search(text)
    if found_part and (found_part.start() > 0 or found_part.end() == len(text)):
        part = _part_number(found_part)
        text = text[: found_part.start()] + text[found_part.end() :]
    leading = _LEADING_YEAR.match(text)
    if leading:
        text = f"{text[leading.end() :]} ({leading[1]})"
    sorted_by = _SORTED_BY_YEAR.match(text)
    if sorted_by and is_year(int(sorted_by[1])) and not _BARE_YEAR.search(text, sorted_by.end()):
        text = f"{text[sorted_by.end() :]} ({sorted_by[1]})"
    bracketed = _bracketed_year(text)
    if bracketed:
        return _with_bracketed_year(text, bracketed, version, part)
    rest = without_prefix(text)
    rest = without_leading_release(rest)
    if is_all_brackets(rest):
        return _in_brackets(rest, version, part)
    return _released(rest, version, part, fansub=rest is not text)


def without_place(title: str) -> str:
    """Drop what numbers a film in the folder of its collection."""
    return _PLACE.sub("", title)


def _part_number(match: re.Match[str]) -> int:
    text = next(group for group in match.groups() if group)
    return int(text) if text.isdecimal() else ord(text.casefold()) - ord("a") + 1


def _bracketed_year(text: str) -> re.Match[str] | None:
    """Return the year in brackets that ends a title: the last, a plain one before any other."""
    if "(" not in text and "[" not in text:
        return None
    for pattern in (_PLAIN_YEAR_IN_BRACKETS, _YEAR_IN_BRACKETS):
        years = [
            match
            for match in pattern.finditer(text)
            if is_year(int(match[1])) and any(map(str.isalnum, text[: match.start()]))
        ]
        if years:
            return years[-1]
    return None


def _with_bracketed_year(
    text: str, year: re.Match[str], version: str | None, part: int | None
) -> Film:
    before, after = without_prefix(text[: year.start()]), text[year.end() :]
    plain = year[0][1:-1].strip() == year[1]
    release = find_release(before)
    if release and release.start() > 0:
        before = trim_trailing(before[: release.start()])
    before = without_alternative(without_at_end(EDITION_AT_END, before))
    if plain:
        before = _PLACE.sub("", before)
    title = title_of(before)
    if title is None and is_all_brackets(before):
        return _in_brackets(before, version, part, int(year[1]))
    label = _VERSION.match(after)
    if version is None:
        version = label[1] if label else _edition(after)
    ranged = bool(_YEARS.search(year[0]))
    return Film(
        title,
        None if ranged else int(year[1]),
        version,
        part,
        certain=title is not None,
        curated=plain and title is not None,
        collection=ranged or bool(_COLLECTION.search(before)),
    )


def _in_brackets(text: str, version: str | None, part: int | None, year: int | None = None) -> Film:
    """Read a name of which every part is in brackets: the last words before release talk."""
    titles: list[str] = []
    for inner in pieces(text):
        if begins_with_release(inner) or (titles and find_alone(inner)):
            break
        titles.append(inner)
    film = _released(best_title(titles), version, part)
    return film if year is None else Film(film.title, year, version, part, certain=True)


def _released(text: str, version: str | None, part: int | None, *, fansub: bool = False) -> Film:
    """Read `Title.2010.1080p.BluRay-GROUP`, and names with release talk but no year."""
    release = find_release(text)
    while release and not any(map(str.isalnum, text[: release.start()])):
        release = find_release(text, release.end())
    cut = release.start() if release else len(text)
    ranged = _YEARS.search(text)
    year = None if ranged else _bare_year(text, cut)
    end = min(cut, year.start()) if year else cut
    if ranged and 0 < ranged.start() < cut:
        end = ranged.start()
    before = text[:end]
    if end < len(text):
        before = trim_trailing(before, stereoscopic=True, released=year is None)
        before = without_alternative(before)
    else:
        before = without_at_end(LABEL_AT_END, before)
    collection = bool(ranged or _COLLECTION.search(before))
    tail = _COLLECTION_TAIL.search(before)
    if tail and tail.start() > 0:
        before = before[: tail.start()]
    title = title_of(_SURE_PLACE.sub("", before))
    if fansub and title:
        title = _VOLUME.sub("", title)
    return Film(
        title,
        int(year[1]) if year else None,
        version or _edition(text[len(before) :]),
        part,
        certain=year is not None or release is not None,
        released=release is not None,
        collection=collection,
    )


def _bare_year(text: str, cut: int) -> re.Match[str] | None:
    """Return the year beside a title: the last before release talk, else the first after it.

    What begins the name is a title (`2012.2009.1080p`, `2001 A Space Odyssey`).
    """
    years = [
        match
        for match in _BARE_YEAR.finditer(text)
        if is_year(int(match[1])) and any(map(str.isalnum, text[: match.start()]))
    ]
    before = [year for year in years if year.start() < cut]
    return before[-1] if before else years[0] if years else None


def _edition(text: str) -> str | None:
    edition = EDITION.search(text) if text else None
    return " ".join(re.split(r"[ ._-]+", edition[0])) if edition else None
