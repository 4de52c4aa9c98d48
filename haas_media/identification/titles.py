"""Turn a stretch of a name into a title for people."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import lru_cache

from haas_media.identification import rules
from haas_media.identification.junk import is_junk

_OPENING = "([{【「『〔"
_NESTED = re.compile(r"\([^()]*\)")
_SPACES = re.compile(r"\s+")
_WORD_DOT = re.compile(r"(?<=[^\W\d_]{2})\.(?=[^\W\d_]{2})")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]{3,}")
_NO_TITLE = re.compile(
    r"(?:[\W\d_]|vol(?:ume)?|bd|dvd|box|ov?as?|oads?|onas?|sp|specials?|disc|end|movies?)+", re.I
)
_NON_LATIN = re.compile(r"[\u0370-\u1fff\u2e80-\ud7ff\uf900-\ufaff\uff66-\uffdc]")
_FOLD = re.compile(r"[\W_]+")
_FULL_WIDTH = 0xFEE0
# Without the joiners, which belong to words of some languages.
_INVISIBLE = (0xAD, 0x200B, 0x200E, 0x200F, 0xFEFF, *range(0x202A, 0x202F), *range(0x2060, 0x206A))
_PLAIN = {
    **{ord(zero) + digit: str(digit) for zero in "٠۰०๐０" for digit in range(10)},
    **{ord(letter) + _FULL_WIDTH: letter for letter in f"{string.ascii_letters}()[]#"},
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2212"), "-"),
    **dict.fromkeys(_INVISIBLE),
}
_EDGE_JUNK = " \t._-–—‒+,;:~|/\\=*#"


def plain(text: str) -> str:
    """Return text as keyboards of one script would write it.

    Accents are composed, so that names from every file system compare alike; digits, letters,
    brackets and spaces of other scripts and widths are ASCII's; marks that nobody sees are gone.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(_PLAIN)


def lower(text: str) -> str:
    """Return text in small letters, each letter where it stood."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)


@lru_cache(maxsize=64)
def find_release(text: str, start: int = 0) -> re.Match[str] | None:
    """Find the first word, from `start` on, that no title ends with; use the match's span only."""
    return rules.RELEASE.search(lower(text), start)


def begins_with_release(text: str, at: int = 0) -> bool:
    """Tell whether a word that no title holds stands at a place in a name."""
    return rules.RELEASE.match(lower(text), at) is not None


def ends_in_release(text: str) -> bool:
    """Tell whether the last of several words is none of a title; cheaper than a search for any."""
    text = text.rstrip(" ._-")
    at = max(text.rfind(" "), text.rfind("."), text.rfind("_")) + 1
    return at > 0 and begins_with_release(text, at)


def without_leading_release(text: str) -> str:
    """Drop release talk from before a title (`h265 - Title`), when a title follows.

    Without a dash or such a number it may be the title's: `Screener Nights`, `8 Bit Hearts`.
    """
    leading = rules.LEADING_RELEASE.match(lower(text))
    sure = leading and ("- " in leading[0] or re.search("[0-9]{3}", leading[0]))
    return text[leading.end() :] if leading and sure else text


@lru_cache(maxsize=8192)
def fold(text: str) -> str:
    """Return letters and digits only, in one case, for comparing titles."""
    return _FOLD.sub("", text.casefold())


def spaced(text: str) -> str:
    """Turn separators that stand for spaces (dots, underscores) into spaces."""
    text = text.strip().replace("_", " ")
    if "." not in text:
        if text.count("-") > 2 and " " not in text and not any(map(str.isdecimal, text)):
            text = text.replace("-", " ")
    elif " " not in text.strip(_EDGE_JUNK):
        text = rules.ACRONYM.sub(lambda match: match[0].replace(".", "\0") + " ", text)
        text = text.replace(".", " ").replace("\0", ".")
    else:
        text = _WORD_DOT.sub(" ", text)
    return _SPACES.sub(" ", text)


def is_all_brackets(text: str) -> bool:
    """Tell whether a name, without its prefix, still begins with brackets."""
    return text.startswith(("[", "【", "★"))


def without_prefix(text: str) -> str:
    """Drop what stands before a title: the site, the release group, a stray number before it."""
    site = rules.SITE.match(text) if "." in text or "ww" in text or text[:1] == "@" else None
    if site and site.end() < len(text):
        text = text[site.end() :]
    text = rules.STRAY_NUMBER.sub("", text) if text[:1].isdecimal() else text
    while (group := rules.GROUP.match(text)) and _has_title(text[group.end() :]):
        text = text[group.end() :]
    return text


def _has_title(rest: str) -> bool:
    """Tell whether a title can begin here: letters or digits before any bracket or release talk."""
    release = begins_with_release(rest)
    return bool(rest) and rest[0] not in "[【{(" and rest[0].isprintable() and not release


def pieces(text: str) -> list[str]:
    """Return what stands in each pair of brackets and between them, in order."""
    found = map(str.strip, re.split(r"[\[\]【】★]", text))
    return [piece for piece in found if piece.strip(_EDGE_JUNK)]


def title_release(text: str) -> re.Match[str] | None:
    """Find the first word of release talk that a title can stand before.

    In `Remux (2014)`, `The.Remux.2014` and `A.Remux.Story` the word is the title's: no other is.
    """
    release = find_release(text)
    while release:
        before = text[: release.start()]
        rest = text[release.end() :].lstrip(_EDGE_JUNK + _OPENING)
        of_a_title = (
            rules.ARTICLE.fullmatch(before)
            and (text[release.start()].isalpha() or not any(map(str.isalnum, rest)))
            and not begins_with_release(rest)
        )
        if any(map(str.isalnum, before)) and not of_a_title:
            return release
        release = find_release(text, release.end())
    return None


def cut_release(text: str) -> str:
    """Return what stands before the first word of release talk, and the brackets around it."""
    release = title_release(text)
    return text[: release.start()] if release else text


def with_year_behind(text: str, first: int = rules.FIRST_YEAR) -> str:
    """Put a year that begins a name, to sort by it, behind the title: `1993 - Copper Peak`."""
    text = rules.PLACE_OF_YEAR.sub("", text)
    leading = rules.LEADING_YEAR.match(text)
    year = int(leading["in"] or leading["bare"]) if leading else 0
    alone = leading and (leading["in"] or not rules.BARE_YEAR.search(text, leading.end()))
    if leading and alone and first <= year <= rules.LAST_YEAR:
        return f"{text[leading.end() :]} ({year})"
    return text


def trim_trailing(text: str, *, stereoscopic: bool = False, released: bool = False) -> str:
    """Drop edition, language and source words from the end, as long as something stays."""
    while True:
        trimmed = without_at_end(rules.TRAILING, text)
        if stereoscopic:
            trimmed = rules.STEREOSCOPIC.sub("", trimmed)
        if released:
            trimmed = rules.RELEASED_AT_END.sub("", trimmed)
        if trimmed == text or not any(map(str.isalnum, trimmed)):
            return text
        text = trimmed


def without_at_end(pattern: re.Pattern[str], text: str) -> str:
    """Drop what a pattern of editions or release talk finds at the end, but no part of a title.

    An edition goes with its article (`Film The Final Cut`), all of a title stays (`The Final Cut`),
    and so does any other word that has an article.
    """
    trimmed = pattern.sub("", text)
    article = rules.ARTICLE_AT_END.search(trimmed) if trimmed != text else None
    if article is None:
        return trimmed
    edition = rules.EDITION.search(text, article.end())
    return trimmed[: article.start()] or text if edition else text


def _drop_open_bracket(text: str) -> str:
    """Cut at a bracket that is not closed, which a cut before release talk leaves."""
    for opening, closing in ("()", "[]", "{}", "【】"):
        if text.count(opening) > text.count(closing):
            text = text[: text.rfind(opening)] or text[text.rfind(opening) + 1 :]
        elif text.count(closing) > text.count(opening):
            text = text.replace(closing, "", 1)
    return text


def _drop_release_brackets(match: re.Match[str]) -> str:
    inner = next((group for group in match.groups() if group), "")
    whole = find_release(inner) or rules.EDITION.fullmatch(inner.strip()) or not inner.strip()
    return " " if whole or inner.strip() in ("DVD", "BD", "HD", "TV Rip") else match[0]


def _without_nested(text: str) -> str:
    """Drop parentheses, inner ones first, and one that is not closed."""
    while (rest := _NESTED.sub("", text)) != text:
        text = rest
    return text.split("(")[0] or text


def _preferred_script(text: str) -> str:
    """Choose the Latin one of several names of a title, as databases index it the world over."""
    if " / " in text or ("/" in text and not text.isascii()):
        names = _without_nested(text).split(" / " if " / " in text else "/")
        latin = [name for name in names if _LATIN.search(name) and not _NON_LATIN.search(name)]
        return (latin or names)[0]
    if text.isascii() or not _NON_LATIN.match(text.lstrip(_EDGE_JUNK + _OPENING)):
        return text
    latin_word = _LATIN_WORD.search(text)
    if latin_word and _NO_TITLE.fullmatch(text, latin_word.start()):
        # `妄想研究会 Vol. 1`
        return text
    if latin_word and not _NON_LATIN.search(text, latin_word.start()):
        first = _LATIN.search(text)
        return text[first.start() if first else latin_word.start() :]
    return text


def best_title(names: list[str]) -> str:
    """Choose the title among names in brackets: the last, of those in Latin letters if any.

    Of several the first is the release group's.
    """
    names = [name for name in names if not is_junk(name)]
    names = names[1:] or names
    latin = [name for name in names if _LATIN_WORD.search(name)]
    return (latin or names or [""])[-1]


def without_alternative(text: str) -> str:
    """Drop what stands in parentheses at the end of a film's title: another title, or a person.

    It stays where it is the only one in Latin letters, as databases index titles the world over.
    """
    whole = rules.EPISODES_IN_FILM.sub("", text) if "(" in text else text
    if whole != text:
        return whole
    rest = rules.ALTERNATIVE.sub("", text)
    other = text[len(rest) :].strip(" ._-()[")
    if not rest.isascii() and _NON_LATIN.search(rest) and not _LATIN_WORD.search(rest):
        return other if _LATIN_WORD.search(other) and not _NON_LATIN.search(other) else rest
    goes_on = rules.GOES_ON.search(rest) or not any(map(str.isalnum, rest))
    return text if goes_on else rest


def titles_of(text: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the title in a name, and others of it: `A AKA B`, `A (aka B)`, `A / B`."""
    if "/" not in text and "|" not in text and "k" not in text.lower():
        return title_of(text), ()
    first, *more = rules.TWO_TITLES.split(text.replace(" | ", " / "))
    named = [name for name in (first, *more) if any(map(str.isalnum, name))] or [text]
    title = title_of(named[0])
    slashed = _without_nested(named[0]).split(" / ") if " / " in named[0] else []
    others = (other for name in (*slashed, *named[1:]) if (other := title_of(name)))
    return title, tuple(dict.fromkeys(other for other in others if other != title))


def title_of(text: str) -> str | None:
    """Make a title of a stretch of a name; None when no letter or digit is in it."""
    text = _preferred_script(text)
    if "[" in text or "(" in text or "{" in text or "【" in text:
        text = _drop_open_bracket(rules.TITLE_BRACKETS.sub(_drop_release_brackets, text))
        text = rules.TRAILING_GROUPS.sub("", text)
    text = spaced(text).strip(_EDGE_JUNK + _OPENING).rstrip("])}】 ") if text else text
    for opening, closing in ("()", "[]"):
        if text.count(opening) > text.count(closing):
            text += closing
        elif text.count(closing) > text.count(opening):
            text = opening + text
    if rules.ENDS_IN_ACRONYM.search(text):
        text += "."
    inverted = rules.INVERTED.match(text)
    if inverted:
        text = f"{inverted[2]} {inverted[1]}"
    return text if any(map(str.isalnum, text)) else None


def split_year(text: str) -> tuple[str, int | None]:
    """Split a year, bare or in brackets, off the end of a show's name; it is never all of it."""
    year = rules.TRAILING_YEAR.search(text)
    if year is None or not any(map(str.isalnum, text[: year.start()])):
        return text, None
    return text[: year.start()], int(year[1])
