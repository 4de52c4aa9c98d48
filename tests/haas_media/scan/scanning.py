"""Scans in processes of their own, which can be killed at any statement to the database.

``python -m tests.haas_media.scan.scanning`` reads a JSON object a line from standard input (see
``Scanner.begin``), forks for each scan, and prints the processes' ids, then what became of them.
Forking spares each scan the time that imports take.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.command  # noqa: F401 - imported before the fork
from sqlalchemy import event, select

import haas_media.scan.probing
import haas_media.scan.stages  # noqa: F401 - imported before the fork
from haas_media.catalog import open_catalog
from haas_media.catalog.dialects import UtcDateTime
from haas_media.catalog.models import Base
from haas_media.scan import scan
from tests.fake_tmdb import connected
from tests.haas_media.scan.shelf import make_settings

if TYPE_CHECKING:
    from sqlalchemy import Column

    from haas_media.catalog.opening import Catalog


class Scanner:
    """A process that scans in forks of itself, as a context manager.

    Args:
        base: the folder of the libraries.
        tmdb_url: of the local TMDb.
    """

    def __init__(self, base: Path, tmdb_url: str) -> None:
        self._what = {"base": str(base), "tmdb_url": tmdb_url}

    def __enter__(self) -> Scanner:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.haas_media.scan.scanning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def begin(self, database_url: str, *, kill_at: int = 0, at_once: int = 1) -> list[int]:
        """Begin scans; return their process ids.

        Args:
            database_url: the catalog.
            kill_at: the number of the statement at which they kill themselves; 0 for none.
            at_once: how many of them begin at the same time.
        """
        assert self._process.stdin
        what = {**self._what, "database_url": database_url, "kill_at": kill_at}
        print(json.dumps([what] * at_once), file=self._process.stdin, flush=True)
        processes: list[int] = self._line()
        return processes

    def end(self) -> list[dict[str, Any]]:
        """Wait for the end: ``signal``, or else ``error`` or ``counts`` and ``statements``."""
        ended: list[dict[str, Any]] = self._line()
        return ended

    def _line(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


def main() -> None:
    for line in sys.stdin:
        begun = [_fork(what) for what in json.loads(line)]
        print(json.dumps([child for child, _ in begun]), flush=True)
        print(json.dumps([_ended(child, reading) for child, reading in begun]), flush=True)


def _fork(what: dict[str, Any]) -> tuple[int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as out:
            json.dump(_run(**what), out)
        os._exit(0)
    os.close(writing)
    return child, reading


def _ended(child: int, reading: int) -> dict[str, Any]:
    with os.fdopen(reading) as said:
        told = said.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    ended: dict[str, Any] = json.loads(told)
    return ended


def _run(base: str, database_url: str, tmdb_url: str, kill_at: int) -> dict[str, Any]:
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with open_catalog(database_url) as catalog, connected(tmdb_url) as client:
            event.listen(catalog.engine, "before_cursor_execute", count)
            event.listen(catalog.engine, "commit", count)
            report = scan(make_settings(Path(base)), catalog, provider=client)
    except BaseException as error:  # noqa: BLE001 - told to the test
        return {"error": repr(error)}
    return {"counts": report.counts(), "statements": statements}


def contents(catalog: Catalog) -> dict[str, list[str]]:
    """Return all rows by their table, without numbers of rows and times of day.

    For the number of another row stands that row; of a time it is told whether there is one.
    """
    rows: dict[str, dict[Any, str]] = {}
    with catalog.reading() as session:
        for table in Base.metadata.sorted_tables:  # those that others refer to come first
            told = [c for c in table.c if not (c.primary_key and c.autoincrement is not False)]
            rows[table.name] = {
                row.get(table.c.get("id"), number): repr([_told(c, row[c], rows) for c in told])
                for number, row in enumerate(session.execute(select(table)).mappings())
            }
    return {name: sorted(of_table.values()) for name, of_table in rows.items()}


def _told(column: Column[Any], value: Any, rows: dict[str, dict[Any, str]]) -> Any:
    for key in column.foreign_keys:
        return value and rows[key.column.table.name][value]
    return value is None if isinstance(column.type, UtcDateTime) else value


if __name__ == "__main__":
    main()
