"""Column types that keep hostile text and times whole on both databases."""

from __future__ import annotations

import datetime as dt
import os
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Text, TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_SURROGATES_OR_PRIVATE = re.compile(r"[\ud800-\udfff\uf780-\uf7ff]+")
_PRIVATE_RUN = re.compile(r"[\uf780-\uf7ff]+")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def to_stored_path(path: str) -> str:
    """Turn a path as Python has it into text that every database takes.

    A byte that is not UTF-8 (a lone surrogate in Python) becomes the private character
    U+F700 + byte. Characters of that range themselves are spelt byte by byte in the same way,
    so that no two paths become one.
    """
    if path.isascii():
        return path
    return _SURROGATES_OR_PRIVATE.sub(
        lambda run: "".join(chr(0xF700 + byte) for byte in os.fsencode(run[0])), path
    )


def from_stored_path(stored: str) -> str:
    """Undo ``to_stored_path``."""
    if stored.isascii():
        return stored
    return _PRIVATE_RUN.sub(
        lambda run: os.fsdecode(bytes(ord(char) - 0xF700 for char in run[0])), stored
    )


def clean_text(text: str) -> str:
    """Replace what no database takes: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class FsPath(TypeDecorator[str]):
    """A path as the file system has it, byte for byte, even if it is not UTF-8."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Encode for the database."""
        return None if value is None else to_stored_path(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Decode from the database."""
        return None if value is None else from_stored_path(value)


class CleanText(TypeDecorator[str]):
    """Text from outside, without the characters that no database takes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean on the way in."""
        return None if value is None else clean_text(value)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware time, always UTC; SQLite has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Turn into UTC; naive for SQLite."""
        if value is None:
            return None
        utc = value.astimezone(dt.UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """Return as aware UTC."""
        if value is None:
            return None
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC)  # type: ignore[no-any-return]
