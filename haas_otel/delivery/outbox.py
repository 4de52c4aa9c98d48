"""One SQLite file for all processes: what waits for delivery, what was told already, what to read.

``spans`` holds each span once, whoever produced it and however often: ids are computed from run
ids, so a second copy is known by its key and ignored. ``pending`` holds one row for each span and
each exporter that it still has to go to; a row goes when the span is delivered.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from haas_otel.delivery.codec import load
from haas_otel.delivery.owner import is_alive
from haas_otel.span import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

FILE_NAME = "traces.db"
_VERSION = 1
_BUSY_SECONDS = 5.0
_PRUNE_AT_ONCE = 5_000
# A batch that is refused is tried again in halves, so that 10 refusals leave a span on its own.
_REFUSALS_UNTIL_ALONE = 10
_MOST_REFUSALS = 12

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
    UNIQUE (trace_id, span_id)
);
CREATE INDEX tasks_by_start ON spans (start_ns) WHERE task_id IS NOT NULL;
CREATE INDEX tasks_by_id ON spans (task_id) WHERE task_id IS NOT NULL;
CREATE TABLE pending (
    target TEXT NOT NULL,
    span INTEGER NOT NULL,
    size INTEGER NOT NULL,
    refusals INTEGER NOT NULL DEFAULT 0,
    tried_at REAL NOT NULL DEFAULT 0,
    owner TEXT,
    leased_until REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (target, span)
) WITHOUT ROWID;
CREATE INDEX pending_in_order ON pending (target, refusals, tried_at, span);
CREATE TABLE facts (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""


class OutboxUnusable(Exception):
    """The file cannot be used now; what was to be written has to be kept elsewhere."""


@dataclass(frozen=True)
class Added:
    """What became of some lines: spans that were new, lines that were none, spans dropped."""

    new: int
    rejected: int
    dropped: int


@dataclass(frozen=True)
class Leased:
    """A span to be delivered, as its row id and its JSON."""

    row: int
    body: str


def line_of(targets: Sequence[str], body: bytes) -> bytes:
    """Return the journal's line for a span and the exporters that it has to go to."""
    return b"%b\t%b" % (",".join(targets).encode(), body)


def parts_of(line: str) -> tuple[tuple[str, ...], str]:
    """Return the exporters and the JSON of a journal's line, raising ValueError if it is none."""
    targets, tab, body = line.partition("\t")
    if not tab:
        raise ValueError(f"not a journal line: {line[:80]!r}")
    return tuple(filter(None, targets.split(","))), body


class Outbox:
    """The file in ``directory``, opened when it is first used. For one thread at a time.

    Every method is one transaction and raises OutboxUnusable when the file cannot be used; then
    nothing has changed. A file that is no database is renamed and a new one begun.
    """

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._path = directory / FILE_NAME
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def add(self, lines: Sequence[str]) -> Added:
        """Take lines of a journal; spans that are there already are ignored."""
        rows = []
        rejected = 0
        now = time.time()
        for line in lines:
            try:
                rows.append(_row(line, now))
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                rejected += 1
        if not rows:
            return Added(0, rejected, 0)

        def work(connection: sqlite3.Connection) -> Added:
            new = sum(_insert(connection, targets, row) for targets, row in rows)
            return Added(new, rejected, self._drop_excess(connection) if new else 0)

        return self._transact(work)

    def lease(self, target: str, owner: str, most: int | None = None) -> list[Leased]:
        """Take the next spans for an exporter, for this owner alone until it settles them.

        ``most`` (by default as many as the limits say) go together. Those never tried come first,
        and alone: what has failed before does not drag them down. What the owner had on lease for
        this exporter before is free again: it has one batch in hand at a time.
        """

        def work(connection: sqlite3.Connection) -> list[Leased]:
            self._release_stale(connection, target, owner)
            return self._lease(connection, target, owner, most or self._limits.batch)

        return self._transact(work)

    def settle(self, target: str, leased: Sequence[Leased]) -> None:
        """Note that spans are delivered."""
        keys = [(target, each.row) for each in leased]
        self._transact(
            lambda connection: connection.executemany(
                "DELETE FROM pending WHERE target = ? AND span = ?", keys
            )
        )

    def release(self, target: str, leased: Sequence[Leased], *, refused: bool) -> int:
        """Give spans back that were not delivered, and return how many were given up for good.

        ``refused`` says that others were taken meanwhile, so that the cause lies in these: they
        are tried again in ever smaller batches, and given up when refused alone, again and again.
        """
        now = time.time()
        keys = [(int(refused), now, target, each.row) for each in leased]

        def work(connection: sqlite3.Connection) -> int:
            connection.executemany(
                "UPDATE pending SET owner = NULL, refusals = refusals + ?, tried_at = ?"
                " WHERE target = ? AND span = ?",
                keys,
            )
            given_up = connection.execute(
                "DELETE FROM pending WHERE target = ? AND refusals >= ?", (target, _MOST_REFUSALS)
            )
            return given_up.rowcount

        return self._transact(work)

    def pending(self, targets: Sequence[str]) -> int:
        """Return how many spans wait for any of these exporters."""
        marks = ",".join("?" * len(targets))
        query = f"SELECT count(DISTINCT span) FROM pending WHERE target IN ({marks})"  # noqa: S608 - only question marks are put in
        return int(self._transact(lambda c: c.execute(query, targets).fetchone()[0]))

    def has(self, trace_id: str, span_id: str) -> bool:
        """Say whether a span is here, delivered or not; ids in lower-case hex."""
        query = "SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?"
        found = self._transact(lambda c: c.execute(query, (trace_id, span_id)).fetchone())
        return found is not None

    def prune(self) -> None:
        """Remove delivered spans that are too old or too many; cheap when done lately."""
        now = time.time()
        if self._transact(lambda connection: _claim_pruning(connection, now, self._limits)):
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

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            return self._transact_once(work)
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise OutboxUnusable(f"{self._path}: {error}") from error
            self._put_aside(error)
        try:
            return self._transact_once(work)
        except sqlite3.Error as error:
            raise OutboxUnusable(f"{self._path}: {error}") from error

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
            raise OutboxUnusable(f"{self._path}: {error}") from error
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
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
            raise OutboxUnusable(f"{self._path}: {problem}") from problem

    def _release_stale(self, connection: sqlite3.Connection, target: str, owner: str) -> None:
        owners = connection.execute(
            "SELECT DISTINCT owner FROM pending WHERE target = ? AND owner IS NOT NULL", (target,)
        ).fetchall()
        for (other,) in owners:
            if other == owner or not is_alive(self._directory, other):
                connection.execute(
                    "UPDATE pending SET owner = NULL WHERE target = ? AND owner = ?",
                    (target, other),
                )

    def _lease(
        self, connection: sqlite3.Connection, target: str, owner: str, most: int
    ) -> list[Leased]:
        now = time.time()
        free = "target = ? AND (owner IS NULL OR leased_until < ?)"
        first = connection.execute(
            f"SELECT refusals, tried_at FROM pending WHERE {free}"  # noqa: S608 - a constant
            " ORDER BY refusals, tried_at LIMIT 1",
            (target, now),
        ).fetchone()
        if first is None:
            return []
        refusals, tried = first[0], first[1] > 0
        alike = max(1, self._limits.batch >> min(refusals, _REFUSALS_UNTIL_ALONE))
        rows = connection.execute(
            f"SELECT span, body FROM pending JOIN spans ON spans.id = span WHERE {free}"  # noqa: S608 - a constant
            " AND refusals = ? AND (tried_at > 0) = ? ORDER BY tried_at, span LIMIT ?",
            (target, now, refusals, tried, min(alike, most)),
        ).fetchall()
        until = now + self._limits.lease.total_seconds()
        connection.executemany(
            "UPDATE pending SET owner = ?, leased_until = ? WHERE target = ? AND span = ?",
            [(owner, until, target, row) for row, _ in rows],
        )
        return [Leased(row, body) for row, body in rows]

    def _drop_excess(self, connection: sqlite3.Connection) -> int:
        """Drop the oldest of what waits beyond the limits, and return how many those are."""
        limits = self._limits
        count, size = connection.execute("SELECT count(*), sum(size) FROM pending").fetchone()
        if count <= limits.max_pending_spans and (size or 0) <= limits.max_pending_bytes:
            return 0
        dropped = connection.execute(
            "DELETE FROM pending WHERE (target, span) IN (SELECT target, span FROM ("
            "  SELECT target, span, row_number() OVER newest AS number,"
            "    sum(size) OVER newest AS total"
            "  FROM pending WINDOW newest AS (ORDER BY span DESC, target)"
            ") WHERE number > ? OR total > ?)",
            (limits.max_pending_spans, limits.max_pending_bytes),
        )
        return dropped.rowcount


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


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # A commit that a power cut undoes is made good by the reconciler; one fsync a span is not.
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise OutboxUnusable(f"made by a newer version (schema {version}, not {_VERSION})")
    if version == 0:
        with _transaction(connection):
            # Another process may have been first.
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)


def _row(line: str, now: float) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the exporters and the columns of a journal's line; raises if it is none."""
    targets, body = parts_of(line)
    span = load(body)
    trace_id, span_id = span["context"][:2]
    attributes = span["attributes"]
    is_task = bool(span["scope"]) and span["scope"][0] == SCOPE
    task = attributes.get if is_task else {}.get
    duration = task("task.duration_ms")
    return targets, (
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


def _insert(connection: sqlite3.Connection, targets: tuple[str, ...], row: tuple[Any, ...]) -> bool:
    inserted = connection.execute(
        "INSERT OR IGNORE INTO spans (trace_id, span_id, parent_id, name, kind, start_ns, end_ns,"
        " status, task_id, task_type, task_status, duration_ms, stored_at, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )
    if inserted.rowcount != 1:
        return False
    connection.executemany(
        "INSERT INTO pending (target, span, size) VALUES (?, ?, ?)",
        [(target, inserted.lastrowid, len(row[-1])) for target in targets],
    )
    return True


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
        "SELECT id FROM spans"
        " WHERE (stored_at < ? OR id <= (SELECT max(id) FROM spans) - ?)"
        " AND id NOT IN (SELECT span FROM pending) ORDER BY id LIMIT ?",
        (now - limits.kept_for.total_seconds(), limits.kept_spans, _PRUNE_AT_ONCE),
    ).fetchall()
    connection.executemany("DELETE FROM spans WHERE id = ?", doomed)
    return len(doomed) == _PRUNE_AT_ONCE


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
