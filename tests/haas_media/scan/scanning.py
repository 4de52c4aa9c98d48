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
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.command  # noqa: F401 - imported before the fork
from sqlalchemy import event, text

import haas_media.scan.probing
import haas_media.scan.stages  # noqa: F401 - imported before the fork
from haas_media.catalog import open_catalog
from haas_media.scan import scan
from tests.fake_tmdb import connected
from tests.haas_media.scan.shelf import make_settings

if TYPE_CHECKING:
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


def contents(catalog: Catalog) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that is in a catalog, without numbers of rows and times of day."""
    queries = {
        "files": """
            SELECT l.title, f.path, f.size, f.mtime_ns, f.inode, f.state, f.reason_code,
                f.reason_args, f.recheck, f.nfo_signature, f.missing_since,
                f.extra_kind, f.version, f.identity, f.sidecars, f.streams, f.container,
                f.duration, f.probe_error, m.tmdb_id, m.match_key, s.tmdb_id, s.match_key, d.path
            FROM media_files f JOIN libraries l ON l.id = f.library_id
            LEFT JOIN movies m ON m.id = f.movie_id LEFT JOIN shows s ON s.id = f.show_id
            LEFT JOIN folders d ON d.id = f.folder_id""",
        "folders": """
            SELECT l.title, d.path, d.signature, d.nfo_signature, d.recheck, d.mount
            FROM folders d JOIN libraries l ON l.id = d.library_id""",
        "libraries": "SELECT title, kind, path, online, offline_reason FROM libraries",
        "movies": """
            SELECT tmdb_id, imdb_id, match_key, title, year, overview, runtime, source,
                looked_up_at IS NULL, details_fetched_at IS NULL, people_fetched_at IS NULL
            FROM movies""",
        "shows": """
            SELECT tmdb_id, imdb_id, tvdb_id, match_key, title, year, source,
                looked_up_at IS NULL, details_fetched_at IS NULL, people_fetched_at IS NULL
            FROM shows""",
        "aliases": """
            SELECT a.key, m.tmdb_id, s.tmdb_id FROM title_aliases a
            LEFT JOIN movies m ON m.id = a.movie_id LEFT JOIN shows s ON s.id = a.show_id""",
        "episodes": """
            SELECT s.tmdb_id, n.number, n.title, n.details_fetched_at IS NULL, e.number, e.title,
                e.air_date
            FROM episodes e JOIN seasons n ON n.id = e.season_id
            JOIN shows s ON s.id = n.show_id""",
        "links": """
            SELECT f.path, s.tmdb_id, n.number, e.number FROM media_file_episodes x
            JOIN media_files f ON f.id = x.media_file_id JOIN episodes e ON e.id = x.episode_id
            JOIN seasons n ON n.id = e.season_id JOIN shows s ON s.id = n.show_id""",
        "people": "SELECT id, name, biography, birthday, details_fetched_at IS NULL FROM people",
        "credits": """
            SELECT c.person_id, c.kind, c.character, c."order", c.job, c.department, c.weight,
                m.tmdb_id, s.tmdb_id, e.number
            FROM credits c LEFT JOIN movies m ON m.id = c.movie_id
            LEFT JOIN shows s ON s.id = c.show_id LEFT JOIN episodes e ON e.id = c.episode_id""",
    }
    with catalog.reading() as session:
        return {
            name: sorted(
                (tuple(_plain(value) for value in row) for row in session.execute(text(query))),
            )
            for name, query in queries.items()
        }


def _plain(value: Any) -> str:
    """Return a value as text, the same from both databases."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    return str(int(value)) if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
