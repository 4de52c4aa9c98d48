"""Reading what is kept: the seed's three queries, and one trace with all its spans."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from haas_otel._settings import settings
from haas_otel.delivery.codec import load
from haas_otel.delivery.index import FILE_NAME, Index, IndexUnusable
from haas_otel.delivery.limits import Limits, telemetry_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_CANDIDATES = 10


class TraceNotFound(LookupError):
    """No stored trace or task run has this id; the message is a sentence for people."""


class AmbiguousTrace(LookupError):
    """Several traces begin like this; the message lists them."""


@dataclass(frozen=True)
class StoredEvent:
    """An event of a span; ``time_ns`` in ns since the epoch."""

    name: str
    time_ns: int
    attributes: dict[str, Any]


@dataclass(frozen=True)
class StoredSpan:
    """A finished span; ids in lower-case hex, times in ns since the epoch.

    ``status`` is ``OK``, ``ERROR`` or ``UNSET``.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_description: str | None
    attributes: dict[str, Any]
    events: tuple[StoredEvent, ...] = ()
    scope_name: str = ""
    resource: dict[str, Any] = field(default_factory=dict)

    @property
    def is_task(self) -> bool:
        """Whether this is the span of a task run."""
        return self.scope_name == settings.scope

    @property
    def task_id(self) -> str | None:
        """The task run's id, None on other spans; likewise the three below."""
        return self._of_task("task.id")

    @property
    def task_type(self) -> str | None:
        """The task's class-style name, as `MetadataScanTask`."""
        return self._of_task("task.type")

    @property
    def task_name(self) -> str | None:
        """The task's name for people."""
        return self._of_task("task.name")

    @property
    def task_status(self) -> str | None:
        """``Completed``, ``Failed`` or ``Cancelled``."""
        return self._of_task("task.status")

    @property
    def started_at(self) -> datetime:
        """The start, in UTC, to the microsecond."""
        return _moment(self.start_ns)

    @property
    def duration(self) -> timedelta:
        """End less start, to the microsecond."""
        return timedelta(microseconds=(self.end_ns - self.start_ns) / 1000)

    def _of_task(self, key: str) -> str | None:
        value = self.attributes.get(key) if self.is_task else None
        return None if value is None else str(value)


class TraceStore:
    """The spans kept in ``directory``, by default the one that this machine's processes share.

    A store that was never written to is empty. Methods raise `IndexUnusable` when the file
    cannot be read.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = telemetry_directory() if directory is None else directory

    def tasks(
        self,
        *,
        failed: bool = False,
        slower_than: timedelta | None = None,
        task_type: str | None = None,
        limit: int = 50,
    ) -> list[StoredSpan]:
        """Return task spans to which all that is given applies, the latest started first.

        ``failed`` leaves those with the status Failed (a cancelled task has not failed),
        ``slower_than`` those that took longer, ``task_type`` those of exactly this type.
        """
        conditions, values = ["task_id IS NOT NULL"], []
        if failed:
            conditions.append("task_status = 'Failed'")
        if slower_than is not None:
            conditions.append("duration_ms > ?")
            values.append(slower_than / timedelta(milliseconds=1))
        if task_type is not None:
            conditions.append("task_type = ?")
            values.append(task_type)  # type: ignore[arg-type]
        query = (
            f"SELECT body FROM spans WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
            " ORDER BY start_ns DESC, id DESC LIMIT ?"
        )
        return [_stored(*row) for row in self._read(query, (*values, limit))]

    def trace(self, identifier: str) -> list[StoredSpan]:
        """Return all spans of one trace, by start.

        ``identifier`` is a trace id, a task run's id, or, where it makes the trace, a flow run's
        id; with or without dashes; or the beginning of one. Raises TraceNotFound or AmbiguousTrace.
        """
        digits = identifier.strip().lower().replace("-", "")
        if not digits or set(digits) - set("0123456789abcdef"):
            raise TraceNotFound(
                f"{identifier!r} is no id: give a trace id or a task run's id, or how it begins"
            )
        query = "SELECT body FROM spans WHERE trace_id = ? ORDER BY start_ns, id"
        return [_stored(*row) for row in self._read(query, (self._trace_id(identifier, digits),))]

    def _trace_id(self, identifier: str, digits: str) -> str:
        rows = self._read(
            "SELECT trace_id, min(start_ns), name FROM spans"
            " WHERE trace_id LIKE ? OR replace(task_id, '-', '') LIKE ?"
            " GROUP BY trace_id ORDER BY min(start_ns) DESC",
            (f"{digits}%", f"{digits}%"),
        )
        if not rows:
            raise TraceNotFound(
                f"no trace and no task run {identifier!r} in {self._directory / FILE_NAME}"
            )
        if len(rows) > 1:
            shown = [f"  {row[0]}  {_moment(row[1]):%Y-%m-%d %H:%M:%S}  {row[2]}" for row in rows]
            more = ["  ..."] if len(rows) > _MOST_CANDIDATES else []
            raise AmbiguousTrace(
                f"{len(rows)} traces begin like {identifier!r}; give more of the id:\n"
                + "\n".join(shown[:_MOST_CANDIDATES] + more)
            )
        return str(rows[0][0])

    def _read(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        self._collect()
        path = (self._directory / FILE_NAME).absolute()
        if not path.exists():
            return []
        try:
            with contextlib.closing(
                sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            ) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise IndexUnusable(f"{path}: {error}") from error

    def _collect(self) -> None:
        """Read what processes have written that nobody has read yet."""
        if not self._directory.exists():
            return
        index = Index(self._directory, Limits.from_environment())
        with contextlib.suppress(IndexUnusable, OSError), contextlib.closing(index):
            index.read_all()


def _stored(body: str) -> StoredSpan:
    span = load(body)
    parent = span["parent"]
    return StoredSpan(
        trace_id=span["context"][0],
        span_id=span["context"][1],
        parent_id=parent[1] if parent else None,
        name=span["name"],
        kind=span["kind"],
        start_ns=span["start"],
        end_ns=span["end"],
        status=span["status"],
        status_description=span["description"],
        attributes=_plain(span["attributes"]),
        events=tuple(StoredEvent(e[0], e[1], _plain(e[2])) for e in span["events"]),
        scope_name=span["scope"][0] if span["scope"] else "",
        resource=_plain(span["resource"][0]),
    )


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with bytes as base64, mappings as they are, and NaN as text."""
    return {key: _plain_value(value) for key, value in attributes.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    if isinstance(value, dict):
        kind, held = next(iter(value.items()))
        return _plain(held) if kind == "mapping" else held
    return value


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC) + timedelta(
        microseconds=time_ns % 1_000_000_000 // 1000
    )
