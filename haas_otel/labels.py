"""Labels: what a run carries through Prefect, for machines that cannot read this one's disk.

Labels set before a task run enters Running arrive at the server with that state; later ones with
the next state. They hold ids, names and numbers of the span only, never parameters.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from uuid import UUID

# Prefect's own label for the trace context of a run's caller.
TRACEPARENT = "__OTEL_TRACEPARENT"
# On a task run.
TASK_TYPE = "haas_otel.task.type"
TASK_NAME = "haas_otel.task.name"
MACHINE = "haas_otel.ledger"  # whose disk has the start record
ENDED = "haas_otel.ended"  # its own process has ended the span, with this status
_LEARNT = "haas_otel.learnt"
# On a flow run. The first, with the id of a task run, holds the machine that ends its span.
_SETTLED = "haas_otel.settled."
SUSPECTED = "haas_otel.suspected"  # when it was found silent, and its last signs then

# Prefect refuses an event that is too large, and with it the run's next state.
MAX_BYTES = 12_000  # of what was learnt; with the names at most 16 kB
MAX_MESSAGE = 1_000


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
        return json.dumps(self._replace(retries=retries)._asdict(), default=str)  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, text: object) -> Learnt:
        """Return what JSON holds; nothing where it cannot be read."""
        try:
            content = cls(**json.loads(str(text)))
            retries = tuple(Retry(**each) for each in content.retries)  # type: ignore[arg-type]
            return content._replace(retries=retries, attributes=dict(content.attributes))
        except (ValueError, TypeError):
            return cls()


def read_learnt(labels: Mapping[str, Any]) -> Learnt:
    """Return what the labels of a task run hold."""
    return Learnt.from_json(labels.get(_LEARNT))


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
    while True:
        text = Learnt(tuple(retries), dict(attributes), left_out).to_json()
        if len(text) <= MAX_BYTES or not (attributes or retries):
            labels[_LEARNT] = text
            return
        left_out += 1
        if attributes:
            attributes.pop()
        else:
            retries.pop(0)


def spoken_for_by(labels: Mapping[str, Any], task_run_id: UUID) -> str | None:
    """Return the machine that ends the span of a task run, by the marks on its flow run."""
    machine = labels.get(f"{_SETTLED}{task_run_id}")
    return None if machine is None else str(machine)


def spoken_for(task_run_ids: list[UUID], machine: str | None) -> dict[str, Any]:
    """Return the marks of task runs whose spans a machine ends."""
    return {f"{_SETTLED}{task_run_id}": machine or "" for task_run_id in task_run_ids}
