"""Read fields of TMDb's answers, in which any of them may be missing, null, blank or odd."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from haas_media.providers.records import ProviderUnreachable, UnusableRecord
from haas_media.wording import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What an INTEGER column holds, in PostgreSQL as well.
_LARGEST = 2**31 - 1


def text(fields: Mapping[str, Any], *keys: str) -> str | None:
    """Return the first of these fields that holds a text that is not blank."""
    for key in keys:
        value = fields.get(key)
        if isinstance(value, str) and (cleaned := clean_text(value).strip()):
            return cleaned
    return None


def integer(fields: Mapping[str, Any], key: str, *, least: int = 0) -> int | None:
    """Return a whole number from ``least`` to what a column holds."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not least <= value <= _LARGEST or value != int(value):
        return None
    return int(value)


def number(fields: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def date(fields: Mapping[str, Any], key: str) -> dt.date | None:
    """Return a date given as ``YYYY-MM-DD``, with or without a time after it."""
    value = fields.get(key)
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d(?:$|[T ])", value):
        return None
    try:
        return dt.date.fromisoformat(value[:10])
    except ValueError:
        return None


def imdb_id(fields: Mapping[str, Any], prefix: str) -> str | None:
    """Return an IMDb id (``tt0133093``, ``nm0000206``)."""
    value = text(fields, "imdb_id")
    return value if value and re.fullmatch(rf"{prefix}\d{{1,12}}", value) else None


def objects(fields: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list, leaving out whatever else is in it."""
    value = fields.get(key)
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def nested(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object, empty when there is none."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def names(fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the names of a list of objects (genres), each once."""
    found = (text(item, "name") for item in objects(fields, key))
    return tuple(dict.fromkeys(name for name in found if name))


def gaps(fields: Mapping[str, Any], read: Mapping[str, Any], **keys: str) -> set[str]:
    """Return the names of what an answer does not tell: a key is missing, or holds what it cannot.

    A value that is null, blank or empty tells that there is nothing.

    Args:
        fields: the answer.
        read: what was made of it, by the names that records have for it.
        keys: TMDb's names for these, where they are others.
    """
    return {
        name
        for name, value in read.items()
        if (key := keys.get(name, name)) not in fields or (not value and not _is_blank(fields[key]))
    }


def _is_blank(value: Any) -> bool:
    return not (value.strip() if isinstance(value, str) else value)


def required_title(fields: Mapping[str, Any], what: str, *keys: str) -> str:
    """Return the title of a record.

    Raises:
        UnusableRecord: it has none, and without it is no title.
    """
    title = text(fields, *keys)
    if title is None:
        raise UnusableRecord(f"TMDb's record of {what} has no usable '{keys[0]}'")
    return title


def require_id(fields: Mapping[str, Any], what: str, key: str, expected: int) -> None:
    """Check that a record is the one that was asked for.

    Raises:
        UnusableRecord: it has another id, or none.
        ProviderUnreachable: it is no record at all, which says nothing of this one.
    """
    if key not in fields:
        raise ProviderUnreachable(f"TMDb's answer holds nothing of {what}")
    found = integer(fields, key)
    if found != expected:
        raise UnusableRecord(
            f"TMDb's record of {what} has the {key} {fields.get(key)!r:.40} instead of {expected}"
        )


def require_list(fields: Mapping[str, Any], key: str) -> None:
    """Check that an answer lists what was found, be it nothing.

    Raises:
        ProviderUnreachable: it does not, which is not to say that there is nothing.
    """
    if not isinstance(fields.get(key), list):
        raise ProviderUnreachable(f"TMDb's answer has no usable '{key}'")
