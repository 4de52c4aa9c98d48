"""Start records: what is on this machine's disk of each run that has begun and not ended.

A span that starts, and a flow run that begins, leave one; its process holds a kernel lock for as
long as it lives. So whoever looks knows what runs on this machine, and what was killed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from prefect.settings import get_current_settings

from haas_otel.labels import Learnt
from haas_otel.span import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Record(NamedTuple):
    """A start record. ``run`` is None in that of a flow run; ``start`` in ns since the epoch.

    ``api`` is the address of the Prefect server, without credentials. ``worker`` names a worker
    whose runs end with the process.
    """

    key: str
    api: str | None
    start: int
    flow_run_id: UUID | None = None
    root_id: UUID | None = None
    run: Run | None = None
    learnt: Learnt = Learnt()
    worker: str | None = None


class Process(NamedTuple):
    """A process with open start records; ``last_sign`` is its last stamp, in ns.

    ``close`` is for a dead one: nothing is left to do for a record.
    """

    id: str
    last_sign: int
    records: tuple[Record, ...]
    close: Callable[[Record], object] = lambda _: None


class Disk(Protocol):
    """What all processes of a machine share: a folder of start records and of ended spans."""

    @property
    def machine(self) -> str:
        """The folder's own id."""

    def begin(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a start record down, or a newer one with the same key. Never raises."""

    def end(self, key: str) -> None:
        """Note that a record's run has ended and that its span, if it has one, is written."""

    def has(self, trace_id: int, span_id: int) -> bool:
        """Say whether an ended span is here."""

    def living(self) -> list[Process]:
        """Return the processes that live, this one among them."""

    def dead(self) -> Iterator[Process]:
        """Yield processes that died, each for this caller alone until the next."""


_find: Callable[[], Disk | None] = lambda: None  # noqa: E731
# Of these settings; each look at them takes as long as a line of the journal.
_api: tuple[object, str | None] = (None, None)


def find_with(find: Callable[[], Disk | None]) -> None:
    """Have ``find`` return the disk of this process, or None where there is none."""
    global _find
    _find = find


def disk() -> Disk | None:
    """Return the disk of this process; None when telemetry is off or it cannot be used."""
    return _find()


def of_task(run: Run, learnt: Learnt = Learnt()) -> dict[str, Any]:  # noqa: B008 - immutable
    """Return the start record of a task run, for JSON."""
    record = {**run._asdict(), "api": api()}
    return record | {"learnt": learnt.to_json()} if learnt.retries else record


def of_flow(flow_run_id: UUID, root_id: UUID, start: int) -> dict[str, Any]:
    """Return the start record of a flow run, for JSON."""
    return {"flow_run_id": flow_run_id, "root_id": root_id, "start": start, "api": api()}


def of_worker(name: str, start: int, api_url: str) -> dict[str, Any]:
    """Return the start record of a worker of the server at this address, for JSON."""
    return {"worker": name, "start": start, "api": _without_credentials(api_url)}


def read(key: str, content: Mapping[str, Any]) -> Record:
    """Return a record from its JSON; raises KeyError, TypeError or ValueError for any other."""
    names = ("task_run_id", "flow_run_id", "root_id")
    ids = {name: UUID(content[name]) for name in names if content.get(name)}
    run = Run(**{n: ids.get(n, content[n]) for n in Run._fields}) if "task_run_id" in ids else None
    return Record(
        key,
        content.get("api"),
        int(content["start"]),
        ids.get("flow_run_id"),
        ids.get("root_id"),
        run,
        Learnt.from_json(content.get("learnt")),
        content.get("worker"),
    )


def api() -> str | None:
    """Return the address of this process's Prefect server, without credentials."""
    global _api
    settings = get_current_settings()
    if settings is not _api[0]:
        _api = settings, _without_credentials(settings.api.url)
    return _api[1]


@lru_cache(maxsize=8)
def _without_credentials(url: str | None) -> str | None:
    if not url:
        return None
    parts = urlsplit(str(url))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
