"""Labels: what a run carries through Prefect, so that another process can tell its span.

Labels set before a task run enters Running arrive at the server with that state; later ones with
the next state. They hold ids, names and numbers of the span only, never parameters.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping
    from uuid import UUID

# Prefect's own label for the trace context of a run's caller.
TRACEPARENT = "__OTEL_TRACEPARENT"
TASK_TYPE = "haas_otel.task.type"
TASK_NAME = "haas_otel.task.name"
# On a task run: the ledger that its process writes to. On a flow run: the last settled attempt.
LEDGER = "haas_otel.ledger"
SETTLED = "haas_otel.settled"
# On a flow run, followed by the id of one of its task runs: its span is told. The value is the
# ledger of who told it, or True where there is none.
TOLD = "haas_otel.told."
_LEARNT = "haas_otel.learnt"

AttributeValue = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed attempt that is followed by another. ``at`` is in nanoseconds since the epoch."""

    attempt: int
    at: int
    exception_type: str
    exception_message: str


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the finished attempts of a task run told: retries, and attributes that bodies set."""

    retries: tuple[Retry, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


def read_learnt(labels: Mapping[str, Any]) -> Learnt:
    """Return what the labels hold; nothing where they hold none or it cannot be read."""
    try:
        content = json.loads(labels.get(_LEARNT, "{}"))
        retries = tuple(Retry(**retry) for retry in content.get("retries", ()))
        return Learnt(retries, dict(content.get("attributes", {})))
    except (ValueError, TypeError, AttributeError):
        return Learnt()


def write_learnt(labels: MutableMapping[str, Any], learnt: Learnt) -> None:
    """Put it on the labels, to leave with the run's next state."""
    content = {
        "retries": [asdict(retry) for retry in learnt.retries],
        "attributes": dict(learnt.attributes),
    }
    labels[_LEARNT] = json.dumps(content, default=str)


def told(task_run_ids: Iterable[UUID], ledger: object) -> dict[str, Any]:
    """Return the labels of a flow run that say who has told these task runs."""
    return {TOLD + str(each): ledger or True for each in task_run_ids}
