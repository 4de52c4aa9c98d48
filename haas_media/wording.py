"""Numbers in sentences."""

from __future__ import annotations


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
