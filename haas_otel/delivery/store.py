"""What is kept on this disk: the seed's three queries, and one trace with all its spans.

And which spans wait for an exporter, and sending some of them again.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from haas_otel._settings import settings
from haas_otel.delivery.codec import decode, dump, load
from haas_otel.delivery.exporters import chosen_targets
from haas_otel.delivery.index import FILE_NAME, Index, IndexUnusable
from haas_otel.delivery.limits import telemetry_directory
from haas_otel.delivery.otlp import Kind
from haas_otel.delivery.segments import Segment, kind_of, paths_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    Ids = tuple[str, str]  # of a span: its trace's and its own, in lower-case hex

_MOST_CANDIDATES = 10
_TASKS = """
SELECT body FROM spans WHERE task_id IS NOT NULL
    AND (NOT :failed OR task_status = 'Failed')
    AND (:slower_than IS NULL OR duration_ms > :slower_than)
    AND (:task_type IS NULL OR task_type = :task_type)
ORDER BY start_ns DESC, id DESC LIMIT :limit
"""
_TRACES = """
SELECT trace_id, min(start_ns), name FROM spans
WHERE trace_id LIKE :begin OR replace(task_id, '-', '') LIKE :begin
GROUP BY trace_id ORDER BY min(start_ns) DESC
"""
_SPANS = """
SELECT trace_id, span_id, body FROM json_each(:ids) AS wanted JOIN spans
    ON trace_id = json_extract(value, '$[0]') AND span_id = json_extract(value, '$[1]')
"""
_TRACE = "SELECT body FROM spans WHERE trace_id = :id ORDER BY start_ns, id"


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

    ``status`` is ``OK``, ``ERROR`` or ``UNSET``; ``is_task`` says that it is a task run's.
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
    is_task: bool = False

    @property
    def task_type(self) -> str | None:
        """The task's class-style name, as `MetadataScanTask`; None on other spans."""
        return self._of_task("task.type")

    @property
    def task_status(self) -> str | None:
        """``Completed``, ``Failed`` or ``Cancelled``; None on other spans."""
        return self._of_task("task.status")

    @property
    def started_at(self) -> datetime:
        """The start, in UTC, to the microsecond."""
        return _moment(self.start_ns)

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
        longer = None if slower_than is None else slower_than / timedelta(milliseconds=1)
        asked = {"failed": failed, "slower_than": longer, "task_type": task_type, "limit": limit}
        return [_stored(body) for (body,) in self._read(_TASKS, asked)]

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
        traces = self._read(_TRACES, {"begin": f"{digits}%"})
        if not traces:
            raise TraceNotFound(
                f"no trace and no task run {identifier!r} in {self._directory / FILE_NAME}"
            )
        if len(traces) > 1:
            shown = [f"  {row[0]}  {_moment(row[1]):%Y-%m-%d %H:%M:%S}  {row[2]}" for row in traces]
            more = ["  ..."] if len(traces) > _MOST_CANDIDATES else []
            raise AmbiguousTrace(
                f"{len(traces)} traces begin like {identifier!r}; give more of the id:\n"
                + "\n".join(shown[:_MOST_CANDIDATES] + more)
            )
        return [_stored(body) for (body,) in self._read(_TRACE, {"id": traces[0][0]})]

    def encoded(self, wanted: Collection[Ids]) -> list[tuple[Ids, str]]:
        """Return those of these spans that are here, as JSON, by the ids of their trace and own."""
        found = self._read(_SPANS, {"ids": dump(list(wanted)).decode()})
        return [((trace_id, span_id), body) for trace_id, span_id, body in found]

    def _read(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        if not self._directory.exists():
            return []
        with closing(Index(self._directory)) as index:
            with suppress(IndexUnusable):  # a full disk can be read all the same
                index.read_all()  # what processes have written that nobody has read yet
            return index.select(query, values)


def _stored(body: str) -> StoredSpan:
    span = load(body)
    parent, scope = span["parent"], span["scope"]
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
        attributes=_plain({"mapping": span["attributes"]}),
        events=tuple(StoredEvent(e[0], e[1], _plain({"mapping": e[2]})) for e in span["events"]),
        is_task=bool(scope) and scope[0] == settings.scope,
    )


def _plain(value: Any) -> Any:
    """Return a value with bytes as base64, mappings as they are, and NaN as text."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        kind, held = next(iter(value.items()))
        return {key: _plain(each) for key, each in held.items()} if kind == "mapping" else held
    return value


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC) + timedelta(
        microseconds=time_ns % 1_000_000_000 // 1000
    )


def waiting() -> set[Ids]:
    """Return the spans that wait on this disk for an exporter of spans."""
    found: set[Ids] = set()
    for path in paths_in(telemetry_directory()):
        segment = Segment(path).read()
        for key, items in segment.waiting.items():
            if kind_of(key) == "spans":
                texts = segment.texts(items.values())
                found |= {tuple(load(text)["context"][:2]) for text in texts}
    return found


def send_again(wanted: Collection[Ids], kind: str) -> set[Ids]:
    """Send those of these spans that are kept here, and return those taken.

    To the chosen exporters whose names begin so; where there are none, to all: what others have
    they are not sent again. One request for each span: when this is cut short, the backend knows
    which are left. Raises what an exporter raises that cannot be made.
    """
    chosen, taken = chosen_targets(), set()
    targets = [each for each in chosen if each.key.startswith(kind)] or chosen
    exporters = [target.load() for target in targets]
    for ids, body in TraceStore().encoded(wanted):
        span = decode(body)
        if exporters and all(each.send([span]).kind is Kind.TAKEN for each in exporters):
            taken.add(ids)
    for exporter in exporters:
        exporter.shutdown()
    return taken
