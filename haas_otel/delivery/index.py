"""One SQLite file for all processes: what `haas traces` reads, and which spans are known already.

``spans`` holds each span once, whoever produced it and however often: ids are computed from run
ids, so a second copy is known by its key. Its ``source`` is the segment and the place in it that
the first copy has: that one is sent, others are not. ``segments`` says how far each is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from haas_otel._settings import settings
from haas_otel.delivery.codec import load
from haas_otel.delivery.segments import is_span, paths_in, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

FILE_NAME = "traces.db"
_VERSION = 2
_BUSY_SECONDS = 5.0
_NOT_A_SPAN = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError),
)
# Several processes may make it side by side.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS spans (
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
CREATE INDEX IF NOT EXISTS tasks_by_start ON spans (start_ns) WHERE task_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_by_id ON spans (task_id) WHERE task_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS segments (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_INSERT = """
INSERT OR IGNORE INTO spans (source, stored_at, trace_id, span_id, name, start_ns,
    task_id, task_type, task_status, duration_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# Spans are numbered as they were stored: cheap where nothing is to be removed.
_PRUNE = """
DELETE FROM spans WHERE id <= (SELECT max(id) FROM spans) - :kept OR id < coalesce(
    (SELECT id FROM spans WHERE stored_at >= :since ORDER BY id LIMIT 1),
    (SELECT max(id) + 1 FROM spans))
"""
_FORGET = "DELETE FROM segments WHERE name NOT IN (SELECT value FROM json_each(?))"
_SOURCES = """
SELECT spans.trace_id, spans.span_id, source FROM json_each(?) JOIN spans
ON spans.trace_id = json_extract(value, '$[0]') AND spans.span_id = json_extract(value, '$[1]')
"""


class IndexUnusable(Exception):
    """The file cannot be used now; what was to be written has to be kept elsewhere."""


class _Outdated(OSError):
    pass


class Index:
    """The file in ``directory``, opened when it is first used. For one thread at a time.

    Every method is made of whole transactions and raises IndexUnusable when the file cannot be
    used. A file that is no database, or that a version before has made, is renamed and a new one
    begun.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / FILE_NAME
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        with _lock:
            _all.add(self)

    def read(self, paths: Iterable[Path]) -> None:
        """Take in what is new in segments."""
        rejected, known, now = 0, self.segments(), time.time()
        for path in paths:
            rows, end = [], 0
            for offset, line in read_lines(path, known.get(path.name, 0)):
                end = offset + len(line)
                if is_span(line):
                    try:
                        rows.append((f"{path.name}:{offset}", now, *_row(line)))
                    except _NOT_A_SPAN:
                        rejected += 1
                else:
                    rejected += line[:1] == b"\0"
            if end:
                self._transact(partial(_add, path.name, rows, end))
        if rejected:
            _logger.warning("%d lines are no spans: left out", rejected)

    def read_all(self) -> None:
        """Take in what is new in the segments of all processes, alive or not."""
        self.read(paths_in(self._directory))

    def segments(self) -> dict[str, int]:
        """Return up to where each segment is read, by its name."""
        return dict(self.select("SELECT * FROM segments"))

    def copies(self, spans: Sequence[tuple[str, ReadableSpan]]) -> set[str]:
        """Return the sources of those of these spans that somebody else has written, too."""
        found = [(source, _ids(span.context)) for source, span in spans]
        rows = self.select(_SOURCES, (json.dumps([ids for _, ids in found]),))
        first = {(trace_id, span_id): source for trace_id, span_id, source in rows}
        return {own for own, ids in found if first.get(ids, own) != own}

    def has(self, trace_id: int, span_id: int) -> bool:
        """Say whether a span is here."""
        return bool(self.select(_SOURCES, (json.dumps([_ids((trace_id, span_id))]),)))

    def select(self, query: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        return self._transact(lambda connection: connection.execute(query, values).fetchall())

    def prune(self, limits: Limits) -> None:
        """Remove spans that are too old or too many, and what is known of segments gone."""
        there = [path.name for path in paths_in(self._directory)]
        since = time.time() - limits.kept_for.total_seconds()
        self.select(_FORGET, (json.dumps(there),))
        self.select(_PRUNE, {"kept": limits.kept_spans, "since": since})

    def close(self) -> None:
        """Close the file; it opens again when it is used again."""
        with _lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        with _lock:
            return self._try_to(work)

    def _try_to(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        for last in (False, True):
            try:
                with self._open() as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    return work(connection)
            except (sqlite3.Error, OSError) as error:
                inode = self._inode
                self.close()
                # Put aside by another process at this moment, it is not there.
                if last or not (_is_corrupt(error) or isinstance(error, FileNotFoundError)):
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
        self._connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        _prepare(self._connection)
        return self._connection

    def _put_aside(self, inode: int, error: Exception) -> None:
        """Rename the file, unless another process has done so already."""
        stamp = time.strftime("%Y%m%dT%H%M%S")
        try:
            with (self._directory / "repair.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._path.exists() or self._path.stat().st_ino != inode:
                    return
                for suffix in ("-wal", "-shm", ""):
                    with contextlib.suppress(FileNotFoundError):
                        path = f"{self._path}{suffix}"
                        os.rename(path, f"{path}.corrupt-{stamp}")  # noqa: PTH104 - text is shorter
        except OSError as problem:
            raise IndexUnusable(f"{self._path}: {problem}") from problem
        text = "%s cannot be used (%s): put aside as *.corrupt-%s, a new one is begun"
        _logger.warning(text, self._path, error, stamp)


# SQLite keeps in memory which locks a process has. A forked child has that memory and none of the
# locks, and others would take its WAL away: nothing is open while a process forks.
_all: WeakSet[Index] = WeakSet()
_lock = threading.RLock()


def _close_all() -> None:
    _lock.acquire()
    for index in [*_all]:
        index.close()


os.register_at_fork(before=_close_all, after_in_parent=_lock.release, after_in_child=_lock.release)


def _ids(context: tuple[Any, ...] | None) -> tuple[str, str]:
    trace_id, span_id = context[:2] if context else (0, 0)
    return f"{trace_id:032x}", f"{span_id:016x}"


def _add(name: str, rows: list[tuple[Any, ...]], end: int, connection: sqlite3.Connection) -> None:
    # What another process has read meanwhile is known, whoever was further.
    connection.executemany(_INSERT, rows)
    connection.execute("REPLACE INTO segments VALUES (?, ?)", (name, end))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # What a power cut undoes is read again from its segment.
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
    elif version > _VERSION:
        raise OSError(f"made by a newer version (schema {version}, not {_VERSION})")
    elif version < _VERSION:
        raise _Outdated(f"made by a version before (schema {version})")


def _is_corrupt(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    broken = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, _Outdated) or (code is not None and code & 0xFF in broken)


def _row(line: bytes) -> tuple[Any, ...]:
    """Return the columns of a segment's line; raises one of _NOT_A_SPAN if it is no span."""
    _, tab, body = line[:-1].partition(b"\t")
    if not tab:
        raise ValueError("a line without exporters")
    span = load(body)
    ids = (str(each) for each in span["context"][:2])
    is_task = bool(span["scope"]) and span["scope"][0] == settings.scope
    task = span["attributes"].get if is_task else {}.get
    of_task = (task(f"task.{key}") for key in ("id", "type", "status"))
    duration = task("task.duration_ms")
    return (
        *(*ids, str(span["name"]), int(span["start"])),
        *(None if value is None else str(value) for value in of_task),
        float(duration) if isinstance(duration, int | float) else None,
        body.decode(),
    )
