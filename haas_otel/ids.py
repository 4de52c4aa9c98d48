"""Ids: a task run's span and trace ids are computed from run ids.

Any process that knows the run knows the ids, so any process can produce the same span.
"""

from __future__ import annotations

from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, StaticSampler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

_VARIANT = 0b11 << 62
_chosen: ContextVar[tuple[int, int] | None] = ContextVar("haas_otel_chosen_ids", default=None)


def span_id_of(task_run_id: UUID) -> int:
    """Return the span id of a task run: the low 64 bits of its id (62 of them random)."""
    return task_run_id.int & 0xFFFF_FFFF_FFFF_FFFF


def trace_id_of(task_run_id: UUID | None, flow_run_id: UUID | None) -> int:
    """Return the trace id of a run that nobody called from a trace: its flow run's id.

    A task run without a flow has its own; one of the two is given.
    """
    return (flow_run_id or task_run_id).int  # type: ignore[union-attr]


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


class TaskRunSampler(Sampler):
    """Let another sampler decide on trace ids that are run ids as on random ones.

    Samplers by ratio compare the low 64 bits of a trace id with a bound. In a UUID these begin with
    its variant, the same in all: of runs a ratio up to 0.5 would sample none, and one of 0.75 all.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the other sampler's decision, the same in every process."""
        if is_of_a_run(trace_id):
            # Two of its random bits take the variant's place; the low 56 stay what they are.
            trace_id = trace_id & ~_VARIANT | (trace_id & 0b11) << 62
        return self._sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """Return the other sampler's description."""
        return self._sampler.get_description()


def deciding_on_runs(sampler: Sampler) -> Sampler:
    """Return a sampler that decides on runs as this one does on random trace ids."""
    if isinstance(sampler, ParentBased):
        root = deciding_on_runs(sampler._root)
        if root is sampler._root:
            return sampler
        sampler = copy(sampler)
        sampler._root = root
        return sampler
    static = isinstance(sampler, StaticSampler | TaskRunSampler)
    return sampler if static else TaskRunSampler(sampler)


def is_of_a_run(trace_id: int) -> bool:
    """Say whether a trace id looks like a run's, a UUIDv4 or v7: of random ones each 32nd does."""
    return trace_id & _VARIANT == 0b10 << 62 and trace_id >> 76 & 0xF in (4, 7)
