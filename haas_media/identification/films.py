"""Read the name of a film's file or folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from haas_media.identification import rules, titles
from haas_media.identification.ids import edition_in, without_tags
from haas_media.identification.numbers import find_alone
from haas_media.identification.rules import is_year


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


@lru_cache(maxsize=8192)
def film_of(name: str) -> Film:
    """Read the name of a folder, or of a file without its extension.

    Kept for a while: a folder is met once for each file in it, most often with the same name.
    """
    edition = edition_in(name)
    text = without_tags(titles.without_checksums(name))
    part = None
    may_be_part = any(word in text.lower() for word in ("cd", "dvd", "dis", "part", "pt"))
    found_part = rules.FILM_PART.search(text) if may_be_part else None
    if found_part and (found_part.start() > 0 or found_part.end() == len(text)):
        part = _part_number(found_part)
        text = text[: found_part.start()] + text[found_part.end() :]
    leading = rules.LEADING_YEAR.match(text)
    year = leading and (leading["in"] or leading["bare"])
    alone = leading and (leading["in"] or not rules.BARE_YEAR.search(text, leading.end()))
    if leading and year and alone and is_year(int(year)):
        text = f"{text[leading.end() :]} ({year})"
    bracketed = _bracketed_year(text)
    if bracketed:
        return _with_bracketed_year(text, bracketed, edition, part)
    rest = titles.without_prefix(text)
    rest = titles.without_leading_release(rest)
    if titles.is_all_brackets(rest):
        return _in_brackets(rest, edition, part)
    return _released(rest, edition, part, fansub=rest is not text)


def without_place(title: str) -> str:
    """Drop what numbers a film in the folder of its collection."""
    return rules.PLACE.sub("", title)


def _part_number(match: re.Match[str]) -> int:
    text = next(group for group in match.groups() if group)
    return int(text) if text.isdecimal() else ord(text.casefold()) - ord("a") + 1


def _bracketed_year(text: str) -> re.Match[str] | None:
    """Return the year in brackets that ends a title: the last, a plain one before any other."""
    if "(" not in text and "[" not in text:
        return None
    for pattern in rules.YEAR_IN_BRACKETS:
        years = [
            match
            for match in pattern.finditer(text)
            if is_year(int(match[1])) and any(map(str.isalnum, text[: match.start()]))
        ]
        if years:
            return years[-1]
    return None


def _with_bracketed_year(
    text: str, year: re.Match[str], edition: str | None, part: int | None
) -> Film:
    before, after = titles.without_prefix(text[: year.start()]), text[year.end() :]
    plain = year[0][1:-1].strip() == year[1]
    before = titles.cut_release(before, dated=True)
    before = titles.without_alternative(titles.without_at_end(rules.EDITION_AT_END, before))
    if plain:
        before = without_place(before)
    title, others = titles.titles_of(before)
    label = rules.VERSION.match(after)
    told = _edition(after)
    version = label[1] if label else None
    if label and told:
        version = rules.EDITION.sub("", label[1]).strip(" ._-,+") or None
    ranged = bool(rules.YEARS.search(year[0]))
    return Film(
        title,
        None if ranged else int(year[1]),
        edition or told,
        version,
        part,
        certain=title is not None,
        curated=plain and title is not None,
        collection=ranged or bool(rules.COLLECTION.search(before)),
        other_titles=others,
    )


def _in_brackets(text: str, edition: str | None, part: int | None) -> Film:
    """Read a name of which every part is in brackets: the last words before release talk."""
    names: list[str] = []
    for inner in titles.pieces(text):
        if titles.begins_with_release(inner) or (names and find_alone(inner)):
            break
        names.append(inner)
    return _released(titles.best_title(names), edition, part)


def _released(text: str, edition: str | None, part: int | None, *, fansub: bool = False) -> Film:
    """Read `Title.2010.1080p.BluRay-GROUP`, and names with release talk but no year."""
    release = titles.title_release(text)
    cut = release.start() if release else len(text)
    ranged = rules.YEARS.search(text)
    year = None if ranged else _bare_year(text, cut)
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
    tail = rules.COLLECTION_TAIL.search(before)
    if tail and tail.start() > 0:
        before = before[: tail.start()]
    if fansub:
        before = rules.VOLUME.split(before)[0]
    sorted_too = year is not None and not before[:4].isdecimal()
    title, others = titles.titles_of(
        without_place(before) if sorted_too else rules.SURE_PLACE.sub("", before)
    )
    return Film(
        title,
        int(year[1]) if year else None,
        edition or _edition(text[len(before) :]),
        None,
        part,
        certain=year is not None or release is not None,
        released=release is not None,
        collection=collection,
        # `Saw 3D` is called that, most others are only to be seen so.
        other_titles=(*others, whole) if whole[-2:] == "3D" and whole != title else others,
    )


def _bare_year(text: str, cut: int) -> re.Match[str] | None:
    """Return the year beside a title: the last before release talk, else the first after it.

    What begins the name is a title (`2012.2009.1080p`, `2001 A Space Odyssey`).
    """
    years = [
        match
        for match in rules.BARE_YEAR.finditer(text)
        if is_year(int(match[1])) and any(map(str.isalnum, text[: match.start()]))
    ]
    before = [year for year in years if year.start() < cut]
    return before[-1] if before else years[0] if years else None


def _edition(text: str) -> str | None:
    edition = rules.EDITION.search(text) if text else None
    return " ".join(re.split(r"[ ._-]+", edition[0])) if edition else None
