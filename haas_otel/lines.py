"""Log lines: each carries the ids of its run, also what Prefect writes around its span."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context, get_current, get_value
from prefect.context import FlowRunContext, TaskRunContext

from haas_otel import hooks, ids, span

if TYPE_CHECKING:
    import logging


def context_of(record: logging.LogRecord) -> Context:
    """Return the context whose trace and span a line belongs to.

    That is the current one within a task's body. A line of a task run that is written elsewhere
    belongs to that task's span, and one of a flow run to its trace.
    """
    task_run_id, flow_run_id = _runs_of(record)
    if task_run_id is not None:
        is_own = get_value(hooks.BODY_OF) == task_run_id
    else:
        is_own = flow_run_id is None or trace.get_current_span().get_span_context().is_valid
    if is_own:
        return get_current()
    span_id = ids.span_id_of(task_run_id) if task_run_id else 0
    own = trace.SpanContext(span.trace_of(task_run_id, flow_run_id), span_id, is_remote=False)
    return trace.set_span_in_context(trace.NonRecordingSpan(own), Context())


def _runs_of(record: logging.LogRecord) -> tuple[UUID | None, UUID | None]:
    """Return the task run and the flow run of a line: Prefect's names on it, else those at hand."""
    given = [_id(getattr(record, name, None)) for name in ("task_run_id", "flow_run_id")]
    if any(given):
        return given[0], given[1]
    if of_task := TaskRunContext.get():
        return of_task.task_run.id, of_task.task_run.flow_run_id
    of_flow = FlowRunContext.get()
    return None, of_flow.flow_run.id if of_flow and of_flow.flow_run else None


def _id(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:  # Prefect writes <unknown> where it does not know
        return None
