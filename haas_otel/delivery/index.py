"""One SQLite file for all processes: what `haas traces` reads, and which spans are known already.

``spans`` holds each span once, whoever produced it and however often: ids are computed from run
ids, so a second copy is known by its key. Its ``source`` is the segment and the place in it that
the first copy has: that one is sent, others are not. ``segments`` says how far each is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, TypeVar

from haas_otel._settings import settings
from haas_otel.delivery.codec import load
from haas_otel.delivery.journal import FOLDER, SUFFIX
from haas_otel.delivery.segments import is_span, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.segments import Item

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

FILE_NAME = "traces.db"
_VERSION = 2
_BUSY_SECONDS = 5.0
_AT_ONCE = 2_000
_NOT_A_SPAN = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
_SCHEMA = f"""
CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    name TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    task_id TEXT,
    task_type TEXT,
    task_status TEXT,
    duration_ms REAL,
    stored_at REAL NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (trace_id, span_id)
);
CREATE INDEX tasks_by_start ON spans (start_ns) WHERE task_id IS NOT NULL;
CREATE INDEX tasks_by_id ON spans (task_id) WHERE task_id IS NOT NULL;
CREATE TABLE segments (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""


class IndexUnusable(Exception):
    """The file cannot be used now; what was to be written has to be kept elsewhere."""


class Index:
    """The file in ``directory``, opened when it is first used. For one thread at a time.

    Every method is made of whole transactions and raises IndexUnusable when the file cannot be
    used. A file that is no database, or that a version before has made, is renamed and a new one
    begun.
    """

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._path = directory / FILE_NAME
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def read(self, paths: Iterable[Path]) -> None:
        """Take in what is new in segments."""
        rejected = 0
        known = self.segments()
        for path in paths:
            lines: list[tuple[int, bytes]] = []
            for offset, line in read_lines(path, known.get(path.name, 0)):
                lines.append((offset, line))
                if len(lines) >= _AT_ONCE:
                    rejected += self._add(path, lines)
                    lines = []
            if lines:
                rejected += self._add(path, lines)
        if rejected:
            _logger.warning("%d lines are no spans: left out", rejected)

    def read_all(self) -> None:
        """Take in what is new in the segments of all processes, alive or not."""
        self.read((self._directory / FOLDER).glob(f"*{SUFFIX}"))

    def segments(self) -> dict[str, int]:
        """Return up to where each segment is read, by its name."""
        return dict(self._transact(lambda c: c.execute("SELECT * FROM segments").fetchall()))

    def copies(self, path: Path, spans: Sequence[tuple[Item, ReadableSpan]]) -> set[int]:
        """Return the offsets of those spans of a segment that somebody else has written, too."""
        query = "SELECT source FROM spans WHERE trace_id = ? AND span_id = ?"

        def work(connection: sqlite3.Connection) -> set[int]:
            copies = set()
            for item, span in spans:
                if (context := span.context) is not None:
                    ids = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
                    row = connection.execute(query, ids).fetchone()
                    if row and row[0] != f"{path.name}:{item.offset}":
                        copies.add(item.offset)
            return copies

        return self._transact(work)

    def has(self, trace_id: str, span_id: str) -> bool:
        """Say whether a span is here; ids in lower-case hex."""
        query = "SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?"
        found = self._transact(lambda c: c.execute(query, (trace_id, span_id)).fetchone())
        return found is not None

    def prune(self) -> None:
        """Remove spans that are too old or too many, and what is known of segments that are gone.

        Spans are numbered as they were stored: cheap where nothing is to be removed.
        """
        folder, limits = self._directory / FOLDER, self._limits
        gone = [(name,) for name in self.segments() if not (folder / name).exists()]
        since = time.time() - limits.kept_for.total_seconds()

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM segments WHERE name = ?", gone)
            connection.execute(
                "DELETE FROM spans WHERE id <= (SELECT max(id) FROM spans) - ? OR id <"
                " (SELECT coalesce((SELECT id FROM spans WHERE stored_at >= ? ORDER BY id LIMIT 1),"
                " (SELECT max(id) + 1 FROM spans)))",
                (limits.kept_spans, since),
            )

        self._transact(work)

    def close(self) -> None:
        """Close the file; it opens again when it is used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def forget_after_fork(self) -> sqlite3.Connection | None:
        """Return the parent's connection, which must neither be used nor closed in a child."""
        connection, self._connection = self._connection, None
        return connection

    def _add(self, path: Path, lines: Sequence[tuple[int, bytes]]) -> int:
        rows, rejected, now = [], 0, time.time()
        for offset, line in lines:
            if is_span(line):
                try:
                    rows.append((f"{path.name}:{offset}", *_row(line), now))
                except _NOT_A_SPAN:
                    rejected += 1
            else:
                rejected += line[:1] == b"\0"
        start, end = lines[0][0], lines[-1][0] + len(lines[-1][1])

        def work(connection: sqlite3.Connection) -> None:
            query = "SELECT position FROM segments WHERE name = ?"
            (position,) = connection.execute(query, (path.name,)).fetchone() or (0,)
            if position <= start:  # else another process has read it meanwhile
                connection.executemany(
                    "INSERT OR IGNORE INTO spans (source, trace_id, span_id, name, start_ns,"
                    " task_id, task_type, task_status, duration_ms, body, stored_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
                connection.execute("REPLACE INTO segments VALUES (?, ?)", (path.name, end))

        self._transact(work)
        return rejected

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        for last in (False, True):
            try:
                connection = self._open()
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    return work(connection)
            except (sqlite3.Error, OSError) as error:
                inode = self._inode
                self.close()
                if last or not _is_corrupt(error):
                    raise IndexUnusable(f"{self._path}: {error}") from error
                self._put_aside(inode, error)
        raise AssertionError

    def _open(self) -> sqlite3.Connection:
        """Return the open connection, opening the file anew when another one has its name now."""
        with contextlib.suppress(FileNotFoundError):
            if self._connection is not None and self._path.stat().st_ino == self._inode:
                return self._connection
        self.close()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never a file that is there: who closes a descriptor of it lets go of the locks that other
        # threads' connections have, and the next to close takes their WAL away.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._inode = self._path.stat().st_ino
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _put_aside(self, inode: int, error: Exception) -> None:
        """Rename the file, unless another process has done so already."""
        try:
            with (self._directory / "repair.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._path.exists() or self._path.stat().st_ino != inode:
                    return
                stamp = time.strftime("%Y%m%dT%H%M%S")
                for suffix in ("-wal", "-shm", ""):
                    path = self._path.with_name(self._path.name + suffix)
                    if path.exists():
                        path.rename(f"{path}.corrupt-{stamp}")
        except OSError as problem:
            raise IndexUnusable(f"{self._path}: {problem}") from problem
        _logger.warning(
            "%s cannot be used (%s): put aside as *.corrupt-%s, a new one is begun",
            self._path,
            error,
            stamp,
        )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # What a power cut undoes is read again from its segment.
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have been first.
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
    elif version > _VERSION:
        raise OSError(f"made by a newer version (schema {version}, not {_VERSION})")
    elif version < _VERSION:
        raise _Outdated(f"made by a version before (schema {version})")


class _Outdated(OSError):
    pass


def _is_corrupt(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    broken = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, _Outdated) or (code is not None and code & 0xFF in broken)


def _row(line: bytes) -> tuple[Any, ...]:
    """Return most columns of a segment's line; raises one of _NOT_A_SPAN if it is no span."""
    _, tab, body = line[:-1].partition(b"\t")
    if not tab:
        raise ValueError("a line without exporters")
    span = load(body)
    trace_id, span_id = span["context"][:2]
    is_task = bool(span["scope"]) and span["scope"][0] == settings.scope
    task = span["attributes"].get if is_task else {}.get
    duration = task("task.duration_ms")
    return (
        str(trace_id),
        str(span_id),
        str(span["name"]),
        int(span["start"]),
        *(
            None if (v := task(f"task.{key}")) is None else str(v)
            for key in ("id", "type", "status")
        ),
        float(duration) if isinstance(duration, int | float) else None,
        body.decode(),
    )
