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

from haas_otel.delivery.codec import load
from haas_otel.delivery.journal import SUFFIX
from haas_otel.delivery.owner import FOLDER
from haas_otel.delivery.queue import is_span, read_lines
from haas_otel.span import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

FILE_NAME = "traces.db"
_VERSION = 2
_BUSY_SECONDS = 5.0
_AT_ONCE = 2_000
_COLUMNS = (
    "source, trace_id, span_id, parent_id, name, kind, start_ns, end_ns, status, task_id,"
    " task_type, task_status, duration_ms, stored_at, body"
)
_SCHEMA = f"""
CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_id TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    status TEXT NOT NULL,
    task_id TEXT,
    task_type TEXT,
    task_status TEXT,
    duration_ms REAL,
    stored_at REAL NOT NULL,
    body TEXT NOT NULL,
    source TEXT,
    UNIQUE (trace_id, span_id)
);
CREATE INDEX tasks_by_start ON spans (start_ns) WHERE task_id IS NOT NULL;
CREATE INDEX tasks_by_id ON spans (task_id) WHERE task_id IS NOT NULL;
CREATE TABLE segments (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, exporters TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
# From a version that kept in this file what waits: it is put into a segment; see `_move_pending`.
_FROM_VERSION_1 = """
ALTER TABLE spans ADD COLUMN source TEXT;
UPDATE spans SET source = (SELECT source FROM moved WHERE moved.span = spans.id);
DROP TABLE pending;
CREATE TABLE segments (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, exporters TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 2;
"""


class IndexUnusable(Exception):
    """The file cannot be used now; what was to be written has to be kept elsewhere."""


class Index:
    """The file in ``directory``, opened when it is first used. For one thread at a time.

    Every method is made of whole transactions and raises IndexUnusable when the file cannot be
    used. A file that is no database is renamed and a new one begun.
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
            if path.suffix != SUFFIX:
                continue
            position, _ = known.get(path.name, (0, ""))
            lines = []
            for offset, line in read_lines(path, position):
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

    def segments(self) -> dict[str, tuple[int, str]]:
        """Return up to where each segment is read, and the exporters named in it, by its name."""
        query = "SELECT name, position, exporters FROM segments"
        return {row[0]: row[1:] for row in self._transact(lambda c: c.execute(query).fetchall())}

    def copies(self, path: Path, spans: Sequence[tuple[int, str, str]]) -> set[int]:
        """Return the offsets of spans that somebody else has written, given with their hex ids."""
        query = "SELECT source FROM spans WHERE trace_id = ? AND span_id = ?"

        def work(connection: sqlite3.Connection) -> set[int]:
            copies = set()
            for offset, *ids in spans:
                row = connection.execute(query, ids).fetchone()
                if row and row[0] != f"{path.name}:{offset}":
                    copies.add(offset)
            return copies

        return self._transact(work)

    def has(self, trace_id: str, span_id: str) -> bool:
        """Say whether a span is here; ids in lower-case hex."""
        query = "SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?"
        found = self._transact(lambda c: c.execute(query, (trace_id, span_id)).fetchone())
        return found is not None

    def prune(self) -> None:
        """Remove spans that are too old or too many; cheap when done lately."""
        now = time.time()
        if self._transact(lambda connection: _claim_pruning(connection, now, self._limits)):
            folder = self._directory / FOLDER
            gone = [(name,) for name in self.segments() if not (folder / name).exists()]
            self._transact(lambda c: c.executemany("DELETE FROM segments WHERE name = ?", gone))
            while self._transact(lambda connection: _prune(connection, now, self._limits)):
                pass

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
        rows, names, rejected = [], set(), 0
        now = time.time()
        for offset, line in lines:
            if not is_span(line):
                rejected += line[:1] == b"\0"
                continue
            try:
                exporters, row = _row(line, now)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                rejected += 1
            else:
                rows.append((f"{path.name}:{offset}", *row))
                names.update(exporters)
        start, end = lines[0][0], lines[-1][0] + len(lines[-1][1])

        def work(connection: sqlite3.Connection) -> None:
            found = connection.execute(
                "SELECT position, exporters FROM segments WHERE name = ?", (path.name,)
            ).fetchone()
            position, known = found or (0, "")
            if position > start:
                return  # another process has read it meanwhile
            connection.executemany(
                f"INSERT OR IGNORE INTO spans ({_COLUMNS})"  # noqa: S608 - constants
                f" VALUES ({','.join('?' * (_COLUMNS.count(',') + 1))})",
                rows,
            )
            exporters = ",".join(sorted(names.union(filter(None, known.split(",")))))
            connection.execute(
                "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", (path.name, end, exporters)
            )

        self._transact(work)
        return rejected

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            return self._transact_once(work)
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise IndexUnusable(f"{self._path}: {error}") from error
            self._put_aside(error)
        try:
            return self._transact_once(work)
        except sqlite3.Error as error:
            raise IndexUnusable(f"{self._path}: {error}") from error

    def _transact_once(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        connection = self._open()
        try:
            with _transaction(connection):
                return work(connection)
        except sqlite3.Error:
            self.close()
            raise

    def _open(self) -> sqlite3.Connection:
        """Return the open connection, opening the file anew when another one has its name now."""
        try:
            if self._connection is not None and self._inode_now() == self._inode:
                return self._connection
            self.close()
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # By one descriptor: another process may put the file aside at any moment.
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            inode = os.fstat(descriptor).st_ino
            os.close(descriptor)
        except OSError as error:
            self.close()
            raise IndexUnusable(f"{self._path}: {error}") from error
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, self._directory)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, inode
        return connection

    def _inode_now(self) -> int:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Rename the broken file, unless another process has done so already."""
        self.close()
        try:
            with (self._directory / "repair.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if _is_broken(self._path):
                    stamp = time.strftime("%Y%m%dT%H%M%S")
                    for suffix in ("", "-wal", "-shm"):
                        path = self._path.with_name(self._path.name + suffix)
                        if path.exists():
                            path.rename(f"{path}.corrupt-{stamp}")
                    _logger.warning(
                        "%s is damaged (%s): put aside as *.corrupt-%s, a new one is begun",
                        self._path,
                        error,
                        stamp,
                    )
        except OSError as problem:
            raise IndexUnusable(f"{self._path}: {problem}") from problem


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, directory: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # What a power cut undoes is read again from its segment.
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise IndexUnusable(f"made by a newer version (schema {version}, not {_VERSION})")
    if version < _VERSION:
        with _transaction(connection):
            # Another process may have been first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 1:
                _move_pending(connection, directory)
            script = {0: _SCHEMA, 1: _FROM_VERSION_1}.get(version, "")
            for statement in script.split(";"):
                connection.execute(statement)


def _move_pending(connection: sqlite3.Connection, directory: Path) -> None:
    """Put what waits in a file of version 1 into a segment, as if a dead process had left it."""
    connection.execute("CREATE TEMP TABLE moved (span INTEGER PRIMARY KEY, source TEXT)")
    path = directory / FOLDER / f"0-before-1{SUFFIX}"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    waiting = connection.execute(
        "SELECT span, group_concat(target), body FROM pending JOIN spans ON spans.id = span"
        " GROUP BY span"
    )
    with path.open("wb") as file:
        for span, targets, body in waiting:
            source = f"{path.name}:{file.tell()}"
            connection.execute("INSERT INTO moved VALUES (?, ?)", (span, source))
            file.write(f"{targets}\t{body}\n".encode())


def _row(line: bytes, now: float) -> tuple[list[str], tuple[Any, ...]]:
    """Return the exporters and the columns of a segment's line; raises if it is no span."""
    names, tab, body = line[:-1].decode("utf-8").partition("\t")
    if not tab:
        raise ValueError("a line without exporters")
    span = load(body)
    trace_id, span_id = span["context"][:2]
    attributes = span["attributes"]
    is_task = bool(span["scope"]) and span["scope"][0] == SCOPE
    task = attributes.get if is_task else {}.get
    duration = task("task.duration_ms")
    return list(filter(None, names.split(","))), (
        str(trace_id),
        str(span_id),
        _text(span["parent"] and span["parent"][1]),
        str(span["name"]),
        str(span["kind"]),
        int(span["start"]),
        int(span["end"]),
        str(span["status"]),
        _text(task("task.id")),
        _text(task("task.type")),
        _text(task("task.status")),
        float(duration) if isinstance(duration, int | float) else None,
        now,
        body,
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _claim_pruning(connection: sqlite3.Connection, now: float, limits: Limits) -> bool:
    """Say whether it is time to prune, and note that this process does it."""
    known = connection.execute("SELECT value FROM facts WHERE key = 'pruned_at'").fetchone()
    if known and 0 <= now - known[0] < limits.prune_every.total_seconds():
        return False
    connection.execute("INSERT OR REPLACE INTO facts VALUES ('pruned_at', ?)", (now,))
    return True


def _prune(connection: sqlite3.Connection, now: float, limits: Limits) -> bool:
    """Remove some of what is not kept any longer, and say whether there may be more."""
    doomed = connection.execute(
        "DELETE FROM spans WHERE id IN (SELECT id FROM spans"
        " WHERE stored_at < ? OR id <= (SELECT max(id) FROM spans) - ? LIMIT ?)",
        (now - limits.kept_for.total_seconds(), limits.kept_spans, _AT_ONCE),
    )
    return doomed.rowcount == _AT_ONCE


def _is_corrupt(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_broken(path: Path) -> bool:
    """Say whether the file is there and is damaged, looking at all of it."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    try:
        return bool(connection.execute("PRAGMA quick_check").fetchone()[0] != "ok")
    except sqlite3.DatabaseError as error:
        return _is_corrupt(error)
    finally:
        connection.close()
