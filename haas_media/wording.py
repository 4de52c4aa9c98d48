"""Numbers and names in sentences."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``2 files``, ``1 person``, ``0 people``.

    Args:
        number: how many.
        one: the noun for one of them.
        many: for any other number, unless it is just that with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def counted_people(number: int) -> str:
    """Return a number of people."""
    return counted(number, "person", "people")


def lasted(nanoseconds: int) -> str:
    """Return a time as ``850 µs``, ``12.5 ms``, ``3.21 s``, ``2m 15.6s`` or ``1h 02m 03s``."""
    seconds = nanoseconds / 1e9
    if abs(seconds) < 0.001:
        return f"{nanoseconds / 1e3:.0f} µs"
    if abs(seconds) < 1:
        return f"{nanoseconds / 1e6:.1f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds, 1), 60)
    if minutes < 60:
        return f"{minutes:.0f}m {rest:04.1f}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:.0f}h {minutes:02.0f}m {rest:02.0f}s"


def clean_text(text: str) -> str:
    """Replace what no database takes: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shown_path(path: str) -> str:
    """Return a path as text that can be shown, even if it is not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
