"""Ids: a task run's span and trace ids are computed from run ids.

Any process that knows the run knows the ids, so any process can produce the same span.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

if TYPE_CHECKING:
    from uuid import UUID

_chosen: ContextVar[tuple[int, int] | None] = ContextVar("haas_otel_chosen_ids", default=None)


def span_id_of(task_run_id: UUID) -> int:
    """Return the span id of a task run: the low 64 bits of its id (62 of them random)."""
    return task_run_id.int & 0xFFFF_FFFF_FFFF_FFFF


def trace_id_of(task_run_id: UUID, flow_run_id: UUID | None) -> int:
    """Return the trace id of a task run that nobody called from a trace: its flow run's id."""
    return (flow_run_id or task_run_id).int


class chosen:  # noqa: N801 - used as a function; a class costs half of a generator
    """Let the spans started in this context have these ids."""

    __slots__ = ("_ids", "_token")

    def __init__(self, trace_id: int, span_id: int) -> None:
        self._ids = (trace_id, span_id)

    def __enter__(self) -> None:
        self._token = _chosen.set(self._ids)

    def __exit__(self, *exc_info: object) -> None:
        _chosen.reset(self._token)


class TaskRunIdGenerator(IdGenerator):
    """Hand out the chosen ids inside ``chosen``, and another generator's ids everywhere else."""

    def __init__(self, fallback: IdGenerator | None = None) -> None:
        self._fallback = fallback or RandomIdGenerator()

    def generate_span_id(self) -> int:
        """Return the chosen span id, or one of the fallback's."""
        ids = _chosen.get()
        return ids[1] if ids else self._fallback.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the chosen trace id, or one of the fallback's."""
        ids = _chosen.get()
        return ids[0] if ids else self._fallback.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Say whether the low 56 bits of trace ids are random: those of a UUIDv4 or v7 are."""
        return self._fallback.is_trace_id_random()
