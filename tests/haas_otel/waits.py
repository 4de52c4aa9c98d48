"""What tests wait for. A time-out is only there for what never comes to be."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def wait_until(true: Callable[[], object], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


def waiting(directory: Path) -> int:
    """Return for how many deliveries the spans of a trace store wait."""
    with closing(sqlite3.connect(directory / "traces.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM pending").fetchone()[0])
