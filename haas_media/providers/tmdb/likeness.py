"""How alike two titles are, however they are written."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from functools import lru_cache
from types import MappingProxyType

# Without the German "die", which is an English verb first of all.
_ARTICLES = frozenset({"the", "a", "an", "der", "das", "le", "la", "les", "el", "los", "las", "il"})
_LETTERS = str.maketrans(
    {
        **{"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"},
        "&": " and ",
    }
)
_JOINED = re.compile(r"['’‘`´ʼ]")
_TRAILING_ARTICLE = re.compile(r"^(.*\S),\s+(the|a|an|der|die|das|le|la|les|el|los|las|il)$")
_ROMAN = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
_NUMBERS = MappingProxyType(
    {word: str(number) for words in (("", *_ROMAN), _WORDS) for number, word in enumerate(words, 1)}
)
_WITHOUT_ARTICLE = 0.97
# What the two hold for alike words that name different things: 'Part 2' against 'Part 3'.
_OTHER_NUMBER = 0.5
_BEGINNING = 0.86
_SHORT = 6
# A beginning this long says enough by itself, subtitle or not.
_TELLING = 12
_PARTS = frozenset({"part", "vol", "volume", "chapter"})
_SUBTITLE = re.compile(r":|\s[-–—]\s|\(|\bor\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def fold(title: str) -> tuple[str, ...]:
    """Return the words of a title without what people write in different ways.

    Accents, case, punctuation, where an article stands, Roman numerals and number words:
    ``Rocky II`` and ``rocky.2`` are the same, so are ``Thing, The`` and ``The Thing``.
    """
    plain = unicodedata.normalize("NFKD", title.casefold()).translate(_LETTERS)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).strip()
    if trailing := _TRAILING_ARTICLE.match(plain):
        plain = f"{trailing[2]} {trailing[1]}"
    words = re.findall(r"[^\W_]+", _JOINED.sub("", plain))
    return tuple(_NUMBERS.get(word, word) for word in words)


def _without_article(words: tuple[str, ...]) -> tuple[str, ...]:
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words


def likeness(asked: str, found: str) -> float:
    """Return how alike two titles are, from 0 to 1 (the same but for the way of writing).

    A title that is the other with a subtitle is ``0.86``; titles that differ in a number are
    ``0.5`` at the most.
    """
    a, b = fold(asked), fold(found)
    if not a or not b:
        # Nothing but punctuation.
        return 1.0 if asked.strip().casefold() == found.strip().casefold() else 0.0
    if a == b or "".join(a) == "".join(b):
        return 1.0
    a, b = _without_article(a), _without_article(b)
    if "".join(a) == "".join(b):
        return _WITHOUT_ARTICLE
    if _adds_subtitle(asked, a, b) or _adds_subtitle(found, b, a):
        return _BEGINNING
    alike = _ratio("".join(a), "".join(b))
    return min(alike, _OTHER_NUMBER) if _numbers(a) != _numbers(b) else alike


def _adds_subtitle(long: str, words: tuple[str, ...], beginning: tuple[str, ...]) -> bool:
    rest = words[len(beginning) :]
    if not rest or words[: len(beginning)] != beginning:
        return False
    if rest[-1] == "1" and (len(rest) == 1 or (len(rest) == 2 and rest[0] in _PARTS)):
        return True  # 'Dune: Part One' is listed as 'Dune'
    if _starts_with_number(rest):
        return False
    return len("".join(beginning)) >= _TELLING or any(
        _without_article(fold(long[: match.start()])) == beginning
        for match in _SUBTITLE.finditer(long)
    )


def _starts_with_number(rest: tuple[str, ...]) -> bool:
    first = rest[1] if len(rest) > 1 and rest[0] in _PARTS else rest[0]
    return first.isdigit() and first != "1"


def _numbers(words: tuple[str, ...]) -> set[str]:
    # A first part is seldom called so: 'Rocky' is 'Rocky 1'.
    return {word.lstrip("0") for word in words if word.isdigit()} - {"1"}


def _ratio(a: str, b: str) -> float:
    ratio = SequenceMatcher(None, a, b, autojunk=False).ratio()
    # One letter makes another word of a short title: 'Heat' and 'Heart'.
    return ratio**2 if min(len(a), len(b)) <= _SHORT else ratio
