"""Start records: what is on this machine's disk of each run that has begun and not ended.

A span that starts, and a flow run that begins, leave one; its process holds a kernel lock for as
long as it lives. So whoever looks knows what runs on this machine, and what was killed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from prefect.settings import get_current_settings

from haas_otel.labels import Learnt
from haas_otel.span import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Record:
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
    learnt: Learnt = field(default_factory=Learnt)
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process with open start records; ``last_sign`` is its last stamp, in ns."""

    id: str
    last_sign: int
    records: tuple[Record, ...]
    close: Callable[[Record], None] = lambda _: None  # of a dead one: nothing is left to do for it


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


def find_with(find: Callable[[], Disk | None]) -> None:
    """Have ``find`` return the disk of this process, or None where there is none."""
    global _find
    _find = find


def disk() -> Disk | None:
    """Return the disk of this process; None when telemetry is off or it cannot be used."""
    return _find()


def of_task(run: Run, learnt: Learnt | None = None) -> dict[str, Any]:
    """Return the start record of a task run, for JSON."""
    record = {
        "task": run.task_run_id,
        "task_key": run.task_key,
        "flow": run.flow_run_id,
        "root": run.root_id,
        "caller": run.caller,
        "start": run.start,
        "attributes": run.attributes,
        "api": api(),
    }
    return record if learnt is None else record | {"learnt": learnt.to_json()}


def of_flow(flow_run_id: UUID, root_id: UUID, start: int) -> dict[str, Any]:
    """Return the start record of a flow run, for JSON."""
    return {"flow": flow_run_id, "root": root_id, "start": start, "api": api()}


def of_worker(name: str, start: int, api_url: str) -> dict[str, Any]:
    """Return the start record of a worker of the server at this address, for JSON."""
    return {"worker": name, "start": start, "api": _without_credentials(api_url)}


def read(key: str, content: Mapping[str, Any]) -> Record:
    """Return a record from its JSON; raises KeyError, TypeError or ValueError for any other."""
    flow, root, start = _id(content.get("flow")), _id(content.get("root")), int(content["start"])
    run = None
    if "task" in content:
        run = Run(
            UUID(content["task"]),
            flow,
            root,
            content["task_key"],
            content["caller"],
            start,
            dict(content["attributes"]),
        )
    learnt = Learnt.from_json(content.get("learnt", "{}"))
    return Record(key, content.get("api"), start, flow, root, run, learnt, content.get("worker"))


def api() -> str | None:
    """Return the address of this process's Prefect server, without credentials."""
    return _without_credentials(get_current_settings().api.url)


@lru_cache(maxsize=8)
def _without_credentials(url: str | None) -> str | None:
    if not url:
        return None
    parts = urlsplit(str(url))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def _id(text: str | None) -> UUID | None:
    return UUID(text) if text else None
