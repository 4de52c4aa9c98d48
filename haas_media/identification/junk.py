"""Recognise names that say nothing: hashes, random letters, what discs and cameras number."""

from __future__ import annotations

import re
from functools import lru_cache

from haas_media.identification import rules


@lru_cache(maxsize=64)
def is_junk(stem: str) -> bool:
    """Tell whether a name without extension says nothing about what the file holds."""
    stem = without_copy(stem).strip(" ._-[](){}")
    known = rules.MACHINE.fullmatch(stem) or rules.UNNAMED.fullmatch(stem)
    if known or not any(map(str.isalnum, stem)):
        return True
    return stem.isascii() and is_random(stem)


def is_count(stem: str) -> bool:
    """Tell whether a name is only a number that counts files, `1` or `12`.

    Longer ones are titles more often (`300`, `1917`); a short one is when a year or a folder of the
    same name says so too.
    """
    return bool(re.fullmatch(r"[0-9]{1,2}", without_copy(stem).strip(" ._-[](){}#")))


def without_copy(stem: str) -> str:
    """Drop what a system adds to the name of a copy: `Copy of x`, `x - Copy`, `x (1)`."""
    if stem[-1:] != ")" and "cop" not in (folded := stem.casefold()) and "kop" not in folded:
        return stem
    rest = rules.COPY.sub("", stem)
    return rest if any(map(str.isalnum, rest)) else stem


def without_copy_mark(stem: str) -> str:
    """Drop `Copy of ` from before a name that tells something, and ` - Copy` from behind it."""
    if "op" not in stem and "OP" not in stem:
        return stem
    return rules.COPY_AT_END.sub("", rules.COPY_OF.sub("", stem)) or stem


def is_random(word: str) -> bool:
    """Tell whether a single word looks typed or drawn at random rather than written."""
    if rules.ONE_LETTER.fullmatch(word):
        return True
    if not word.replace("-", "").replace("_", "").isalnum() or word.count("-") > 1:
        return False
    letters = word.casefold()
    if rules.KEYBOARD_ROW.match(letters):
        return len(letters) > 4 or not letters.isalpha()
    if any(map(str.isdecimal, letters)):
        # `dQw4w9WgXcQ`: the id of a video on the web. Words that run together change less.
        return len(rules.CHANGE.findall(word)) >= max(6, 0.4 * len(word))
    if not letters.isalpha() or len(letters) < 5:
        return False
    rare = sum(letters[at : at + 2] in rules.RARE_PAIRS for at in range(len(letters) - 1))
    vowels = sum(letter in "aeiouy" for letter in letters)
    return rare >= 2 or (len(letters) >= 6 and not vowels)
