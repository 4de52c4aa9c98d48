"""Read the name of a film's file or folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from haas_media.identification import rules, titles
from haas_media.identification.numbers import find_alone, find_date
from haas_media.identification.rules import is_year, small_number


@dataclass(frozen=True, slots=True)
class Film:
    """What one name says of a film.

    `certain` when it has the year beside the title, or is cut off by words of a release.
    """

    title: str | None
    year: int | None = None
    edition: str | None = None
    version: str | None = None
    part: int | None = None
    certain: bool = False
    released: bool = False
    curated: bool = False
    collection: bool = False
    other_titles: tuple[str, ...] = ()


_PART_WORDS = ("cd", "dvd", "dis", "part", "pt", "of", "teil", "часть")


@lru_cache(maxsize=8192)
def film_of(name: str) -> Film:
    """Read the name of a folder, or of a file without its extension.

    Kept for a while: a folder is met once for each file in it, most often with the same name.
    """
    plain = not any(mark in name for mark in ("(", "[", "{", "tt"))
    text = name if plain else rules.ANY_TAG.sub("", rules.CHECKSUM.sub("", name))
    may_be_part = any(word in text.lower() for word in _PART_WORDS)
    part = rules.FILM_PART.search(text) if may_be_part else None
    if part and part.start() == 0 and part.end() < len(text):
        part = None
    if part:
        text = text[: part.start()] + text[part.end() :]
    text = titles.with_year_behind(text)
    bracketed = _years(rules.YEAR_IN_BRACKETS, text) or _years(rules.YEAR_AMONG_WORDS, text)
    if bracketed:
        film = _with_bracketed_year(text, bracketed[-1])
    else:
        rest = titles.without_leading_release(titles.without_prefix(text))
        in_brackets = titles.is_all_brackets(rest)
        film = _in_brackets(rest) if in_brackets else _released(rest, fansub=rest is not text)
    tag = rules.EDITION_TAG.search(name)
    film = replace(film, edition=tag[1]) if tag else film
    return replace(film, part=small_number(part[part.lastindex or 0])) if part else film


def _years(rule: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Return the years in a name, but for what begins it: a title (`2012.2009.1080p`)."""
    return [
        match
        for match in rule.finditer(text)
        if is_year(int(match[1])) and any(map(str.isalnum, text[: match.start()]))
    ]


def _with_bracketed_year(text: str, year: re.Match[str]) -> Film:
    before, after = titles.without_prefix(text[: year.start()]), text[year.end() :]
    plain = year[0][1:-1].strip() == year[1]
    before = titles.cut_release(titles.without_leading_release(before))
    before = titles.without_alternative(titles.without_at_end(rules.EDITION_AT_END, before))
    title, others = titles.titles_of(rules.PLACE.sub("", before) if plain else before)
    if plain and rules.WORD_IN_BRACKETS.match(text):
        # `[REC] 3 (2012)` is called that, before most others stands a group.
        whole = str(titles.title_of(text[: year.start()]))
        named = title is not None and any(map(str.isalpha, title))
        title, others = (title, (*others, whole)) if named else (whole, (str(title), *others))
    label = rules.VERSION.match(after)
    version = rules.EDITION.sub("", label[1]) if label else ""
    ranged = bool(rules.YEARS.search(year[0])) and find_date(year[0]) is None
    return Film(
        title,
        None if ranged else int(year[1]),
        _edition(after),
        version.lstrip(" ._-,+").rstrip(" ._-,") or None,
        certain=title is not None,
        curated=plain and title is not None,
        collection=ranged or bool(rules.COLLECTION.search(before)),
        other_titles=others,
    )


def _in_brackets(text: str) -> Film:
    """Read a name of which every part is in brackets: the last words before release talk."""
    names: list[str] = []
    for inner in titles.pieces(text):
        if titles.begins_with_release(inner) or (names and find_alone(inner)):
            break
        names.append(inner)
    return _released(titles.best_title(names))


def _released(text: str, *, fansub: bool = False) -> Film:
    """Read `Title.2010.1080p.BluRay-GROUP`, and names with release talk but no year."""
    release = titles.title_release(text)
    cut = release.start() if release else len(text)
    ranged = rules.YEARS.search(text)
    years = [] if ranged else _years(rules.BARE_YEAR, text)
    # The last before release talk, else the first after it.
    year = next(iter([year for year in years if year.start() < cut][-1:] or years), None)
    if year and year.end() <= cut and rules.OF_TITLE.search(text, 0, year.start()):
        year = None
    end = min(cut, year.start()) if year else cut
    if ranged and 0 < ranged.start() < cut:
        end = ranged.start()
    before = text[:end]
    whole = str(titles.title_of(titles.trim_trailing(before))) if "3D" in before else ""
    if end < len(text):
        before = titles.trim_trailing(before, stereoscopic=True, released=year is None)
        before = titles.without_alternative(before.rstrip(" ._-[") or before)
    else:
        before = titles.without_at_end(rules.LABEL_AT_END, before)
    collection = bool(ranged or rules.COLLECTION.search(before))
    before = titles.without_at_end(rules.COLLECTION_TAIL, before) or before
    if fansub:
        before = rules.VOLUME.split(before)[0]
    place = rules.PLACE if year else rules.SURE_PLACE
    title, others = titles.titles_of(place.sub("", before))
    return Film(
        title,
        int(year[1]) if year else None,
        _edition(text[len(before) :]),
        certain=year is not None or release is not None,
        released=release is not None,
        collection=collection,
        # `Saw 3D` is called that, most others are only to be seen so.
        other_titles=(*others, whole) if whole[-2:] == "3D" and whole != title else others,
    )


def _edition(text: str) -> str | None:
    edition = rules.EDITION.search(text)
    return " ".join(re.split(r"[ ._-]+", edition[0])) if edition else None
