"""A scan with its catalog on PostgreSQL against the same on SQLite, taken in turns, in one run.

    python -m benchmarks.databases [FILES]

With probing, which writes each file once more. A first scan of 100,000 files on PostgreSQL may take
1.5 times what it takes on SQLite, a rescan 1.3 times.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scan import make_tree
from benchmarks.tmdb import settings_for
from haas_media.catalog import open_catalog
from haas_media.scan import scan
from haas_media.settings import ScanSettings
from tests.databases import Postgres, Sqlite

RESCANS = 3


def measure(base: Path, url: str) -> tuple[float, float]:
    """Scan into an empty catalog, then again; return the seconds of the first and of the best."""
    settings = settings_for(base).model_copy(update={"scan": ScanSettings(probe=True)})
    seconds = []
    with open_catalog(url) as catalog:
        for _ in range(1 + RESCANS):
            gc.collect()
            start = time.perf_counter()
            scan(settings, catalog)
            seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="?", type=int, default=100_000)
    files = parser.parse_args().files
    postgres = Postgres()
    try:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            make_tree(base, files)
            first, again = measure(base, Sqlite(base).new())
            first_there, again_there = measure(base, postgres.new())
    finally:
        postgres.close()
    table = Table(title=f"{files:,} files")
    for column in ("", "SQLite", "PostgreSQL", "ratio", "at most"):
        table.add_column(column, justify="right")
    for what, here, there, most in (
        ("first scan", first, first_there, 1.5),
        ("rescan", again, again_there, 1.3),
    ):
        table.add_row(what, f"{here:.1f} s", f"{there:.1f} s", f"{there / here:.2f}", f"{most}")
    Console().print(table)


if __name__ == "__main__":
    main()
