"""NFO sidecars as Kodi and Jellyfin write them, read with care: they come from strangers.

Several roots in one file, a bare address alone or after the XML, byte-order marks, wrong
encodings, stray ampersands and HTML entities all occur in the wild and are read. What is still not
well-formed after that is refused with a sentence.
"""

from __future__ import annotations

import codecs
import datetime as dt
import html
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from haas_media.identification.ids import LARGEST_ID
from haas_media.identification.numbers import MOST_EPISODES_IN_A_FILE
from haas_media.identification.rules import is_year

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from haas_media.reasons import Reason

MAX_BYTES = 4 * 1024 * 1024
_MAX_TITLE = 500
_MAX_TEXT = 20_000
_KINDS: dict[str, NfoKind] = {"movie": "movie", "tvshow": "tvshow", "episodedetails": "episode"}
_TYPED = ("tmdbid", "imdbid", "tvdbid", "imdb_id", "tmdb_id", "tvdb_id")
_ROOT = re.compile(r"<(?:movie|tvshow|episodedetails)\b", re.IGNORECASE)
# No pattern may look further than a bound or the next of its own beginnings: strangers could make
# it look through all of the file again and again.
_DECLARATION = re.compile(r"<\?xml\b[^<>]*>|<!DOCTYPE\b[^<>\[]*>", re.IGNORECASE)
_ENCODING = re.compile(rb"<\?xml\b[^>]*\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_AMPERSAND = re.compile(r"&(?!#\d+;|#x[0-9a-fA-F]+;|(?:amp|lt|gt|quot|apos);)(?:(\w+);)?")
# No language has words of accented letters alone, or signs between letters.
_WRONG_LETTERS = re.compile(
    r"[\x80-\x9f\ufffd]|(?<![A-Za-zÀ-ÿ])[À-ÖØ-öø-ÿ]{3,}(?![A-Za-zÀ-ÿ])"
    r"|[^\W\d_][¡-©¬®¯±¶¸¼¾¿×÷](?=[^\W\d_])|^[?\s]{3,}$"
)
_YEAR_BEHIND = re.compile(r"(.*\S)\s*\(([0-9]{4})\)")
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_URLS: tuple[tuple[str, NfoKind | None, re.Pattern[str]], ...] = (
    ("tmdb", "movie", re.compile(r"themoviedb\.org/movie/(\d+)", re.IGNORECASE)),
    ("tmdb", "tvshow", re.compile(r"themoviedb\.org/tv/(\d+)", re.IGNORECASE)),
    ("imdb", None, re.compile(r"imdb\.com/(?:[a-z-]+/)?title/(tt\d{7,10})", re.IGNORECASE)),
    (
        "tvdb",
        "tvshow",
        re.compile(
            r"thetvdb\.com/(?:\S{0,200}?[?&](?:series)?id=|(?:\w+/)?series/)(\d+)", re.IGNORECASE
        ),
    ),
)

NfoKind = Literal["movie", "tvshow", "episode"]


class NfoError(Exception):
    """An NFO file cannot be used. The text says what is wrong with it, and what to do.

    ``reason`` is that with the file's name, once it is known whose it is.
    """

    reason: Reason


class NfoUnreadable(NfoError):
    """An NFO file cannot be opened now; that says nothing of what it holds."""


@dataclass(frozen=True, slots=True)
class Nfo:
    """What one root of an NFO file says. ``kind`` is none for a bare address that tells no kind.

    ``ids`` are keyed ``tmdb``, ``imdb`` and ``tvdb``; those of an episode are the episode's own.
    ``runtime`` in minutes. ``unsure`` says that the encoding of the title was detected, and may be
    another: a good name has the better title.
    """

    kind: NfoKind | None
    title: str | None = None
    original_title: str | None = None
    show_title: str | None = None
    year: int | None = None
    date: dt.date | None = None
    season: int | None = None
    episode: int | None = None
    overview: str | None = None
    runtime: int | None = None
    genres: tuple[str, ...] = ()
    vote_average: float | None = None
    ids: dict[str, str] = field(default_factory=dict)
    unsure: bool = False


def read_nfo(path: Path) -> tuple[Nfo, ...]:
    """Read an NFO file; nothing if it is a release note without metadata.

    Raises:
        NfoUnreadable: it cannot be opened: the right to, or its disk, is missing.
        NfoError: it is too large, or malformed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NfoUnreadable(f"it cannot be read: {error.strerror or error}") from None
    return parse_nfo(data)


def parse_nfo(data: bytes) -> tuple[Nfo, ...]:
    """Do what ``read_nfo`` says with the content of a file."""
    if len(data) > MAX_BYTES:
        raise NfoError(f"it is larger than {MAX_BYTES // 1024 // 1024} MiB, which no NFO file is")
    decoded, detected = _decode(data)
    text = _CONTROL.sub("", decoded)
    if not _ROOT.search(text):
        return _bare(text)
    roots, around = _parse_roots(text)
    known = (root for root in roots if root.tag.lower() in _KINDS)
    found = [each for root in known for each in _read(root, detected=detected)]
    address = _bare(around)
    if address and found and (found[0].kind == address[0].kind or address[0].kind is None):
        # The elements of the XML are what a person sees; the address only adds to them.
        found[0] = replace(found[0], ids={**address[0].ids, **found[0].ids})
    return tuple(found)


def _decode(data: bytes) -> tuple[str, bool]:
    """Return the text, and whether its encoding had to be detected."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace"), False
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        if data[first:4:2] == b"\0\0":  # no text begins with letters beyond these 256
            return data.decode(encoding, "replace"), False
    declared = _ENCODING.search(data[:200])
    named = declared[1].decode().lower() if declared else ""
    if named.startswith(("utf-16", "utf-32", "ucs")):
        named = ""  # then the declaration itself could not have been read
    # What is declared is often wrong where the text is UTF-8, which no other text looks like unless
    # it has plain letters alone.
    for encoding in (named, "utf-8") if data.isascii() else ("utf-8", named):
        try:
            return data.decode(encoding or "utf-8"), False
        except (UnicodeError, LookupError):
            continue
    return _detected(data), True


def _detected(data: bytes) -> str:
    """Decode text that is neither as declared nor UTF-8, by the language that its words make."""
    import charset_normalizer

    words = re.sub(rb"<[^<>]*>|[\x00-\x7f]{40,}", b" ", data)
    european = ["cp1250", "cp1251", "cp1252", "cp1253", "cp1254"]
    asian = ["big5", "gb18030", "cp932", "cp949"]
    best = charset_normalizer.from_bytes(words, cp_isolation=european + asian).best()
    return data.decode(best.encoding if best else "cp1252", "replace")


def _parse_roots(text: str) -> tuple[list[Element], str]:
    """Parse all roots; return them and the text before, between and behind them."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    body = _ampersands_escaped(_DECLARATION.sub("", text))
    try:
        wrapper = fromstring(f"<nfo>{_outside_escaped(body)}</nfo>")
    except ParseError as error:
        line = error.position[0]
        raise NfoError(
            f"it is malformed XML (line {line}: {_why(error)}). Mend or remove it"
        ) from None
    except DefusedXmlException:
        raise NfoError("it defines entities, which is not safe. Remove its DOCTYPE") from None
    around = " ".join([wrapper.text or "", *(root.tail or "" for root in wrapper)])
    return list(wrapper), around


def _outside_escaped(body: str) -> str:
    """Escape what stands before the first root and behind the last; it need not be XML."""
    first = body.find("<")
    last = body.rfind(">") + 1
    return body[:first] + body[first:last] + body[last:].replace("<", "&lt;")


def _why(error: Exception) -> str:
    return str(error).partition(":")[0]


def _ampersands_escaped(text: str) -> str:
    """Mend the ampersands that XML does not take; in a CDATA section, an ampersand is one."""
    done: list[str] = []
    at = 0
    while (start := text.find(_CDATA, at)) >= 0 and (end := text.find(_CDATA_END, start)) >= 0:
        end += len(_CDATA_END)
        done += [_AMPERSAND.sub(_escape, text[at:start]), text[start:end]]
        at = end
    return "".join([*done, _AMPERSAND.sub(_escape, text[at:])])


def _escape(match: re.Match[str]) -> str:
    """Make an HTML entity the character it means, and any other ampersand a plain one."""
    if match[1]:
        meant = html.unescape(match[0])
        if meant != match[0]:
            return html.escape(meant)
    return "&amp;" + match[0][1:]


def _bare(text: str) -> tuple[Nfo, ...]:
    """Read addresses of databases in plain text."""
    kind: NfoKind | None = None
    ids: dict[str, str] = {}
    for source, told, pattern in _URLS:
        match = pattern.search(text)
        if match and (kind is None or told is None or told == kind):
            _put(ids, source, match[1])
            kind = kind or told
    return (Nfo(kind, ids=ids),) if ids else ()


def _read(root: Element, *, detected: bool) -> Iterator[Nfo]:
    kind = _KINDS[root.tag.lower()]
    dates = [_date(_text(root, tag)) for tag in ("premiered", "releasedate", "aired")]
    date = next((date for date in dates if date), None)
    year = _number(_text(root, "year"))
    title = _title(root, "title")
    named = _YEAR_BEHIND.fullmatch(title or "")
    if named and is_year(int(named[2])):
        # `The Flash (2014)`, as TheTVDB tells shows apart.
        title, year = named[1], year or int(named[2])
    nfo = Nfo(
        kind=kind,
        title=title,
        original_title=_clipped(_text(root, "originaltitle"), _MAX_TITLE),
        show_title=_title(root, "showtitle"),
        year=year if year and is_year(year) else (date.year if date else None),
        date=date,
        season=_number(_text(root, "season")),
        episode=_number(_text(root, "episode")),
        overview=_clipped(_text(root, "plot") or _text(root, "outline"), _MAX_TEXT),
        runtime=_number(_text(root, "runtime")),
        genres=tuple(dict.fromkeys(text for text in _texts(root, "genre") if text)),
        vote_average=_rating(root),
        ids=_ids(root, kind),
        unsure=detected and _is_foreign(title or ""),
    )
    yield nfo
    # So Jellyfin has the last of a file's episodes, beside what it says of the first.
    first, last = nfo.episode, _number(_text(root, "episodenumberend"))
    if first is not None and last is not None and last - first <= MOST_EPISODES_IN_A_FILE:
        for number in range(first + 1, last + 1):
            yield Nfo(kind, show_title=nfo.show_title, season=nfo.season, episode=number)


def _texts(root: Element, tag: str) -> list[str]:
    return [
        (child.text or "").strip()
        for child in root
        if isinstance(child.tag, str) and child.tag.lower() == tag
    ]


def _text(root: Element, tag: str) -> str:
    return next((text for text in _texts(root, tag) if text), "")


def _title(root: Element, tag: str) -> str | None:
    """Return a title; none if its letters are wrong, so that the name's is taken instead."""
    title = _clipped(_text(root, tag), _MAX_TITLE)
    return None if title and _is_garbled(title) else title


def _is_foreign(title: str) -> bool:
    letters = [letter for letter in title if letter.isalpha()]
    return sum(map(str.isascii, letters)) <= len(letters) / 2 if letters else False


def _is_garbled(text: str) -> bool:
    """Tell whether text was once decoded as what it is not: `Ð‘Ñ€Ð°Ñ‚` or `Áðàò` for `Брат`."""
    if _WRONG_LETTERS.search(text):
        return True
    if text.isascii():
        return False
    try:
        text.encode("cp1252").decode()
    except UnicodeError:
        return False
    return True


def _clipped(text: str, length: int) -> str | None:
    # Some tools escape what is escaped already: `Tom &amp;amp; Gerry`.
    return html.unescape(text)[:length] or None


def _number(text: str) -> int | None:
    match = re.match(r"\d{1,6}", text)
    return int(match[0]) if match else None


def _date(text: str) -> dt.date | None:
    try:
        date = dt.date.fromisoformat(text[:10])
    except ValueError:
        return None
    return date if is_year(date.year) else None


def _rating(root: Element) -> float | None:
    try:
        value = float(_text(root, "rating").replace(",", "."))
    except ValueError:
        return None
    return value if 0 < value <= 10 else None


def _ids(root: Element, kind: NfoKind) -> dict[str, str]:
    ids: dict[str, str] = {}
    # Beside ids that say whose they are, one that does not is of unknown origin.
    untyped = not any(_is_typed(child) for child in root)
    for child in root:
        if isinstance(child.tag, str):
            for source, value in _named_ids(child, kind, untyped=untyped):
                _put(ids, source, value)
    return ids


def _is_typed(child: Element) -> bool:
    tag = str(child.tag).lower()
    told = child.get("type") if tag == "uniqueid" else tag == "id" and child.attrib
    return tag in _TYPED or bool(told)


def _named_ids(child: Element, kind: NfoKind, *, untyped: bool) -> list[tuple[str, Any]]:
    tag, text = child.tag.lower(), (child.text or "").strip()
    if tag == "uniqueid":
        return [((child.get("type") or "").lower(), text)]
    if tag in _TYPED:
        return [(tag[:4], text)]
    if tag == "id":
        # Legacy: IMDb's for movies, TheTVDB's for shows, more of them in attributes.
        named = [(name.lower(), value) for name, value in child.attrib.items()]
        plain = "imdb" if text.startswith("tt") else "tvdb" if untyped and kind == "tvshow" else ""
        return [*named, (plain, text)]
    return []


def _put(ids: dict[str, str], source: str, value: str) -> None:
    source = {"themoviedb": "tmdb", "thetvdb": "tvdb"}.get(source, source)
    pattern = "tt[0-9]{7,10}" if source == "imdb" else "0{0,9}[1-9][0-9]{0,9}"
    value = value.strip()
    if source not in ("tmdb", "imdb", "tvdb") or not re.fullmatch(pattern, value):
        return
    if source == "imdb" or int(value) <= LARGEST_ID:
        ids.setdefault(source, value.lstrip("0"))
