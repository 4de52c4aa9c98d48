"""What waits in a trace store for its delivery."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def waiting(directory: Path) -> int:
    """Return for how many deliveries the spans of a trace store wait."""
    return _count(directory, "tried_at >= 0")


def has_failed(directory: Path) -> bool:
    """Say whether a delivery failed for which the spans of a trace store wait."""
    with suppress(sqlite3.OperationalError):  # it is not made yet
        return _count(directory, "tried_at > 0") > 0
    return False


def _count(directory: Path, condition: str) -> int:
    address = f"file:{directory}/traces.db?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        query = f"SELECT count(*) FROM pending WHERE {condition}"
        return int(connection.execute(query).fetchone()[0])
