"""Ids: a task run's span and trace ids are computed from run ids.

Any process that knows the run knows the ids, so any process can produce the same span.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, StaticSampler
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prefect.context import FlowRunContext
from prefect.telemetry.run_telemetry import LABELS_TRACEPARENT_KEY

from haas_otel import _sdk

if TYPE_CHECKING:
    from uuid import UUID

    from opentelemetry.sdk.trace.sampling import SamplingResult
    from prefect.client.schemas.objects import FlowRun, TaskRun

TRACEPARENT = LABELS_TRACEPARENT_KEY  # of a run: who called it, and so its trace
_VARIANT = 0b11 << 62
_MAX_CALLERS = 1_000
# The trace id and the span id of the spans that start in this context.
chosen: ContextVar[tuple[int, int] | None] = ContextVar("haas_otel_chosen_ids", default=None)
# W3C traceparents by the ids of the runs that they called, of the last that this process met.
_callers: dict[UUID | None, str] = {}
_propagator = TraceContextTextMapPropagator()


def span_id_of(task_run_id: UUID) -> int:
    """Return the span id of a task run: the low 64 bits of its id (62 of them random)."""
    return task_run_id.int & 0xFFFF_FFFF_FFFF_FFFF


def trace_id_of(
    task_run_id: UUID | None, flow_run_id: UUID | None, caller: str | None = None
) -> int:
    """Return the trace id of a run: its caller's, else its flow run's id, else its own."""
    called = trace.get_current_span(context_of(caller)).get_span_context() if caller else None
    return called.trace_id if called and called.is_valid else (flow_run_id or task_run_id).int  # type: ignore[union-attr]


def context_of(caller: str | None) -> Context:
    """Return the context of a W3C traceparent: never the current one, in every process alike."""
    return _propagator.extract({"traceparent": caller}, Context()) if caller else Context()


def current_caller(span: trace.Span | None = None) -> str | None:
    """Return the current span, or this one, as a W3C traceparent; None where there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span) if span else None)
    return carrier.get("traceparent")


def current_flow_run() -> FlowRun | None:
    """Return the flow run that goes on in this context, if there is one."""
    in_flow = FlowRunContext.get()
    return in_flow.flow_run if in_flow else None


def caller_in(flow_run: FlowRun | None) -> str | None:
    """Return the caller of what starts here: the current span, else the flow run's own caller."""
    given = dict.get(flow_run.labels, TRACEPARENT) if flow_run else None
    return current_caller() or (str(given) if given else None)


def remember_caller(run: TaskRun | FlowRun) -> None:
    """Note who called a run, for the lines that are logged of it when it is out of reach."""
    if caller := dict.get(run.labels, TRACEPARENT):
        _callers[run.id] = str(caller)
        if len(_callers) > _MAX_CALLERS:
            _callers.pop(next(iter(_callers)), None)


def trace_of(task_run_id: UUID | None, flow_run_id: UUID | None) -> int:
    """Return the trace that a run's spans are in, as far as this process knows; one is given."""
    caller = _callers.get(task_run_id or flow_run_id) or _callers.get(flow_run_id)
    return trace_id_of(task_run_id, flow_run_id, caller)


class TaskRunIdGenerator(IdGenerator):
    """Hand out the chosen ids where there are any, and another generator's everywhere else."""

    def __init__(self, fallback: IdGenerator | None = None) -> None:
        self._fallback = fallback or RandomIdGenerator()

    def generate_span_id(self) -> int:
        """Return the chosen span id, or one of the fallback's."""
        ids = chosen.get()
        return ids[1] if ids else self._fallback.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the chosen trace id, or one of the fallback's."""
        ids = chosen.get()
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
        self, parent_context: Context | None, trace_id: int, *rest: Any, **named: Any
    ) -> SamplingResult:
        """Return the other sampler's decision, the same in every process."""
        if is_of_a_run(trace_id):
            # Two of its random bits take the variant's place; the low 56 stay what they are.
            trace_id = trace_id & ~_VARIANT | (trace_id & 0b11) << 62
        return self._sampler.should_sample(parent_context, trace_id, *rest, **named)

    def get_description(self) -> str:
        """Return the other sampler's description."""
        return self._sampler.get_description()


def deciding_on_runs(sampler: Sampler) -> Sampler:
    """Return a sampler that decides on runs as this one does on random trace ids."""
    if isinstance(sampler, ParentBased):
        return _sdk.with_root(sampler, deciding_on_runs)
    static = isinstance(sampler, StaticSampler | TaskRunSampler)
    return sampler if static else TaskRunSampler(sampler)


def is_of_a_run(trace_id: int) -> bool:
    """Say whether a trace id looks like a run's, a UUIDv4 or v7: of random ones each 32nd does."""
    return trace_id & _VARIANT == 0b10 << 62 and trace_id >> 76 & 0xF in (4, 7)
