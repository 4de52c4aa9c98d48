"""Records: what a run leaves behind, for the process that ends its span in its place.

A span that starts, and a flow run that begins, leave a start record on this machine's disk, and its
process holds a kernel lock for as long as it lives: whoever looks knows what runs on this machine,
and what was killed. For machines that cannot read this disk the rest travels on labels.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from prefect.settings import get_current_settings

from haas_otel import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

    from prefect.client.schemas.objects import FlowRun

# Keys of the records of a flow run, each with its id: of its process; of the worker that has it in
# hand, to its very end; of who stops it because the system does; of who counts that it never began.
FLOW, HELD, STOP = "flow {}".format, "held {}".format, "stop {}".format
COUNT = "count {}".format
# Labels of a task run. Set before it enters Running they arrive at the server with that state,
# later ones with the next state. They hold ids, names and numbers of the span, never parameters.
TASK_TYPE = "haas_otel.task.type"
TASK_NAME = "haas_otel.task.name"
ENDED = "haas_otel.ended"  # its own process has ended the span, with this status
LEARNT = "haas_otel.learnt"
DEFERRED = "haas_otel.deferred"  # a task worker runs it, and no flow run's process
HISTORY = "haas_otel.history"  # attributes of its span that Prefect's history gave, as JSON
BEFORE = "prefect.attempt_before"  # among these: the task run whose span this one's links to
# Of a flow run: the first, with the id of a task run, holds the machine that ends its span.
_SETTLED = "haas_otel.settled."
STOPPED = "haas_otel.stopped"  # what was stopped by the system, and it with that
STOPPED_IN = "haas_otel.stopped.attempt"  # in which of its attempts
COUNTED = "haas_otel.never_began"  # it ended without having begun, for this reason; counted
SUSPECTED = "haas_otel.suspected"  # when it was found silent, and its last signs then

_LOOPBACK = re.compile(r"^(localhost|\[::1\])(?=:|$)")
# Prefect refuses an event that is too large, and with it the run's next state.
MAX_BYTES = 12_000  # of what was learnt; with the names at most 16 kB
MAX_MESSAGE = 1_000


class Run(NamedTuple):
    """What the span of a started task run says from its start on; ``start`` in ns since the epoch.

    ``root_id`` is the outermost flow run of its process, None of one that has no flow run's, as a
    task worker's; ``caller`` a W3C traceparent.
    """

    task_run_id: UUID
    flow_run_id: UUID | None
    root_id: UUID | None
    task_key: str
    caller: str | None
    start: int
    attributes: dict[str, Any]

    @property
    def trace_id(self) -> int:
        """The trace that the span is in."""
        return ids.trace_id_of(self.task_run_id, self.flow_run_id, self.caller)

    @property
    def span_id(self) -> int:
        """The id that the span has in every process."""
        return ids.span_id_of(self.task_run_id)

    @property
    def key(self) -> str:
        """The key of its start record."""
        return f"{self.span_id:016x}"


class Retry(NamedTuple):
    """A failed attempt that is followed by another. ``at`` is in nanoseconds since the epoch."""

    attempt: int
    at: int
    exception_type: str
    exception_message: str


class Learnt(NamedTuple):
    """What the finished attempts of a task run left: retries, and attributes that bodies set.

    ``left_out`` counts those for which there was no room.
    """

    retries: tuple[Retry, ...] = ()
    attributes: Mapping[str, Any] = {}
    left_out: int = 0

    def to_json(self) -> str:
        """Return it as JSON on one line."""
        retries = [retry._asdict() for retry in self.retries]
        return json.dumps({**self._asdict(), "retries": retries}, default=str)

    @classmethod
    def from_json(cls, text: object) -> Learnt:
        """Return what JSON holds; nothing where it cannot be read."""
        try:
            content = cls(**json.loads(str(text)))
            retries = tuple(Retry(**each) for each in content.retries)  # type: ignore[arg-type]
            return content._replace(retries=retries, attributes=dict(content.attributes))
        except (ValueError, TypeError):
            return cls()


class Record(NamedTuple):
    """A start record. ``run`` is None in that of a flow run; ``start`` in ns since the epoch.

    ``api`` is the address of the Prefect server, without credentials. Those of a worker have no
    ``root_id``. ``hooks`` says that the task has hooks for its cancellation, ``told`` that these
    alone are left: the span is ended.
    """

    key: str
    api: str | None
    start: int
    flow_run_id: UUID | None = None
    root_id: UUID | None = None
    run: Run | None = None
    learnt: Learnt = Learnt()
    hooks: bool = False
    told: bool = False


class Process(NamedTuple):
    """A process that died with open start records; ``last_sign`` is its last stamp, in ns.

    ``close`` says that nothing is left to do for a record, ``leave_hooks`` that hooks are.
    """

    last_sign: int
    records: list[Record]
    close: Callable[[Record], object]
    leave_hooks: Callable[[Record], object]


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

    def living(self) -> list[Record]:
        """Return the open records of the processes that live, this one among them."""

    def lost(self) -> list[Record]:
        """Return those of processes that died, to be looked at alone: also while one is settled."""

    def dead(self) -> Iterator[Process]:
        """Yield processes that died, each for this caller alone until the next."""


# Returns the disk of this process; None when telemetry is off or it cannot be used.
disk: Callable[[], Disk | None] = lambda: None  # noqa: E731


def of_task(
    run: Run,
    learnt: Learnt = Learnt(),  # noqa: B008 - immutable
    *,
    hooks: bool = False,
) -> dict[str, Any]:
    """Return the start record of a task run, for JSON."""
    address = api() if run.root_id is None else _api_of(run.root_id)
    record = {"api": address, **run._asdict()}
    if hooks:
        record["hooks"] = True
    return record | {"learnt": learnt.to_json()} if learnt.retries else record


def of_flow(flow_run_id: UUID | None, start: int, root_id: UUID | None = None) -> dict[str, Any]:
    """Return the start record of a flow run, for JSON, or a worker's: of one, or of itself."""
    return {"flow_run_id": flow_run_id, "root_id": root_id, "start": start, "api": api()}


def read(key: str, content: Mapping[str, Any]) -> Record:
    """Return a record from its JSON; raises KeyError, TypeError or ValueError for any other."""
    names = ("task_run_id", "flow_run_id", "root_id")
    found = {name: UUID(content[name]) for name in names if content.get(name)}
    is_task = "task_run_id" in found
    return Record(
        key,
        _without_credentials(content.get("api")),
        int(content["start"]),
        found.get("flow_run_id"),
        found.get("root_id"),
        Run(**{name: found.get(name, content[name]) for name in Run._fields}) if is_task else None,
        Learnt.from_json(content.get("learnt")),
        bool(content.get("hooks")),
        bool(content.get("told")),
    )


def api() -> str | None:
    """Return the address of this process's Prefect server, without credentials."""
    return _without_credentials(get_current_settings().api.url)


@lru_cache(maxsize=64)  # to look at the settings takes longer than to write the record
def _api_of(flow_run_id: UUID) -> str | None:  # noqa: ARG001 - the key
    return api()


def _without_credentials(url: str | None) -> str | None:
    parts = urlsplit(str(url or ""))
    # This machine's server is one, by whatever name somebody asks for it.
    address = _LOOPBACK.sub("127.0.0.1", parts.netloc.rpartition("@")[2])
    return parts._replace(netloc=address).geturl().rstrip("/") or None


def write_learnt(labels: MutableMapping[str, Any], learnt: Learnt) -> None:
    """Put it on the labels, to leave with the run's next state; what does not fit is left out.

    Attributes go first, the largest before the others, then the oldest retries.
    """
    retries = [
        Retry(attempt, at, kind[:200], message[:MAX_MESSAGE])
        for attempt, at, kind, message in learnt.retries
    ]
    attributes = sorted(learnt.attributes.items(), key=lambda each: len(str(each[1])))
    left_out = learnt.left_out
    while len(text := Learnt(tuple(retries), dict(attributes), left_out).to_json()) > MAX_BYTES:
        if attributes:
            attributes.pop()
        else:
            retries.pop(0)
        left_out += 1
    labels[LEARNT] = text


def _attempt_of(flow_run: FlowRun) -> int:
    """Return which attempt of a flow run goes on or is to begin; of an ended one, the last."""
    # Prefect counts one when it enters Running.
    state = flow_run.state
    return flow_run.run_count + bool(state and (state.is_scheduled() or state.is_pending()))


def stopped_by(who: str, flow_run: FlowRun) -> dict[str, Any]:
    """Return the labels of a flow run that ``who`` stops because the system does."""
    return {STOPPED: who, STOPPED_IN: _attempt_of(flow_run)}


def stopped_with(flow_run: FlowRun) -> str | None:
    """Return what the system stopped, and this attempt of a flow run with it; None if it did not.

    Earlier versions did not say in which attempt: that is known of a first one only.
    """
    who = flow_run.labels.get(STOPPED)
    is_this = _attempt_of(flow_run) <= int(flow_run.labels.get(STOPPED_IN, 1))
    return str(who) if who is not None and is_this else None


def is_spoken_for(flow_run: FlowRun | None, task_run_id: UUID, machine: str | None) -> bool:
    """Say whether another machine ends the span of a task run, by the marks on its flow run."""
    marks = flow_run.labels if flow_run else {}
    return marks.get(f"{_SETTLED}{task_run_id}") not in (None, machine)


def spoken_for(task_run_ids: list[UUID], machine: str | None) -> dict[str, Any]:
    """Return the marks of task runs whose spans a machine ends."""
    return {f"{_SETTLED}{task_run_id}": machine or "" for task_run_id in task_run_ids}
