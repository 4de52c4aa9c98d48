"""Labels: what a run carries through Prefect, for machines that cannot read this one's disk.

Labels set before a task run enters Running arrive at the server with that state; later ones with
the next state. They hold ids, names and numbers of the span only, never parameters.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping
    from uuid import UUID

# Prefect's own label for the trace context of a run's caller.
TRACEPARENT = "__OTEL_TRACEPARENT"
# On a task run.
TASK_TYPE = "haas_otel.task.type"
TASK_NAME = "haas_otel.task.name"
MACHINE = "haas_otel.ledger"  # whose disk has the start record
ENDED = "haas_otel.ended"  # its own process has ended the span, with this status
_LEARNT = "haas_otel.learnt"
# On a flow run. Followed by the id of a task run, the mark holds the machine that ends its span.
# Alone it holds an attempt: until then, no span of the flow run is left for other machines to end.
# That speaks for no span: the disk of a machine may know of one that no record shows.
SETTLED = "haas_otel.settled"
SUSPECTED = "haas_otel.suspected"  # when it was found silent, and its last signs then

# Prefect refuses an event that is too large, and with it the run's next state.
MAX_BYTES = 12_000  # of what was learnt; with the names at most 16 kB
MAX_MESSAGE = 1_000


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed attempt that is followed by another. ``at`` is in nanoseconds since the epoch."""

    attempt: int
    at: int
    exception_type: str
    exception_message: str


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the finished attempts of a task run left: retries, and attributes that bodies set.

    ``left_out`` counts those for which there was no room.
    """

    retries: tuple[Retry, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    left_out: int = 0

    def to_json(self) -> str:
        """Return it as JSON on one line."""
        content = {
            "retries": [asdict(retry) for retry in self.retries],
            "attributes": dict(self.attributes),
            "left_out": self.left_out,
        }
        return json.dumps(content, default=str)

    @classmethod
    def from_json(cls, text: object) -> Learnt:
        """Return what JSON holds; nothing where it cannot be read."""
        try:
            content = json.loads(str(text))
            retries = tuple(Retry(**retry) for retry in content.get("retries", ()))
            attributes = dict(content.get("attributes", {}))
            return cls(retries, attributes, int(content.get("left_out", 0)))
        except (ValueError, TypeError, AttributeError):
            return cls()


def read_learnt(labels: Mapping[str, Any]) -> Learnt:
    """Return what the labels of a task run hold."""
    return Learnt.from_json(labels.get(_LEARNT, "{}"))


def write_learnt(labels: MutableMapping[str, Any], learnt: Learnt) -> None:
    """Put it on the labels, to leave with the run's next state; what does not fit is left out.

    Attributes go first, the largest before the others, then the oldest retries.
    """
    retries = [
        replace(
            each,
            exception_type=each.exception_type[:200],
            exception_message=each.exception_message[:MAX_MESSAGE],
        )
        for each in learnt.retries
    ]
    attributes = dict(learnt.attributes)
    largest_last = sorted(attributes, key=lambda name: len(str(attributes[name])))
    left_out = learnt.left_out
    text = Learnt(tuple(retries), attributes, left_out).to_json()
    while len(text) > MAX_BYTES and (attributes or retries):
        left_out += 1
        if attributes:
            del attributes[largest_last.pop()]
        else:
            del retries[0]
        text = Learnt(tuple(retries), attributes, left_out).to_json()
    labels[_LEARNT] = text


def spoken_for_by(labels: Mapping[str, Any], task_run_id: UUID) -> str | None:
    """Return the machine that ends the span of a task run, by the marks on its flow run."""
    machine = labels.get(f"{SETTLED}.{task_run_id}")
    return None if machine is None else str(machine)


def spoken_for(task_run_ids: Iterable[UUID], machine: str | None) -> dict[str, Any]:
    """Return the marks of task runs whose spans a machine ends."""
    return {f"{SETTLED}.{task_run_id}": machine or "" for task_run_id in task_run_ids}


def is_settled(labels: Mapping[str, Any], attempt: int) -> bool:
    """Say whether nothing is left of a flow run, up to this attempt."""
    # One that crashed before it ran has had no attempt: it is settled by a mark of "0".
    until = str(labels.get(SETTLED, "")).partition(" ")[0]
    return until.isdigit() and int(until) >= attempt


def settled(attempt: int) -> dict[str, Any]:
    """Return the mark of a flow run of which nothing is left, up to this attempt."""
    return {SETTLED: str(attempt)}
