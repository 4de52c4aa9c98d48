"""Keys by which titles are recognised when no id is known."""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

_NOT_WORD = re.compile(r"[^\w]+")
_ARTICLE = re.compile(r"^(?:the|a|an) (?=.)")
# PostgreSQL's indexes hold no key of more than 2704 bytes.
_LONGEST, _KEPT = 400, 300


def match_key(title: str, year: int | None) -> str:
    """Normalise a title and its year: case, accents, punctuation and a leading article go.

    ``The Matrix`` of 1999 and ``matrix`` of 1999 have one key. A title that is nothing but
    punctuation keeps it. Of one that is longer than any title, the end is summed up.
    """
    decomposed = unicodedata.normalize("NFKD", title).casefold()
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = _NOT_WORD.sub(" ", bare.replace("&", " and ").replace("'", "").replace("’", ""))
    words = _ARTICLE.sub("", words.replace("_", " ").strip())
    return f"{_bounded(' '.join(words.split()) or title.strip())}|{year or ''}"


def _bounded(words: str) -> str:
    if len(words) <= _LONGEST:
        return words
    rest = words[_KEPT:].encode("utf-8", "surrogatepass")
    return f"{words[:_KEPT]}~{blake2b(rest, digest_size=16).hexdigest()}"
