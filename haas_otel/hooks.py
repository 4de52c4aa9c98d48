"""The hooks: Prefect's state changes of a task run drive its span from start to end.

Prefect calls ``on_running`` on every attempt, and once more with the very same state while a
termination or a crash unwinds the run; then no terminal hook comes. That repetition is how a task
learns here that it was interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.logging.loggers import task_run_logger
from prefect.states import Cancelled
from prefect.utilities.asyncutils import run_coro_as_sync

from haas_otel import labels, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from opentelemetry.trace import Span
    from prefect.client.schemas.objects import TaskRun
    from prefect.tasks import StateHookCallable, Task

# What stops a task from outside. Anything else that is raised, SystemExit too, is its own failure.
INTERRUPTIONS = (KeyboardInterrupt, TerminationSignal, asyncio.CancelledError, Pause, Abort)
# After these Prefect gives the task run no state any more: the server shows it Running for ever.
_WITHOUT_A_STATE = (Exception, Pause, Abort, GeneratorExit)


@dataclass(slots=True)
class LiveSpan:
    """A span whose task run this process runs."""

    span: Span
    task: Task[..., Any]
    task_run: TaskRun
    attempt: UUID  # the id of the Running state
    in_body: bool = False


live: dict[UUID, LiveSpan] = {}
# The last task runs that this process has told. The server's records of them may lag behind.
told: deque[UUID] = deque(maxlen=1000)


def haas_otel_on_running(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """Start the span on the first attempt; end it when the run is being interrupted."""
    if labels.TASK_TYPE not in task_run.labels:
        return  # switched off when the run was introduced
    running = live.get(task_run.id)
    if running is None:
        flow_context = FlowRunContext.get()
        started = span.start(task_run, flow_context.flow_run if flow_context else None)
        live[task_run.id] = LiveSpan(started, task, task_run, state.id)
    elif running.attempt != state.id:
        running.attempt = state.id
    else:
        _interrupted(running, sys.exception())


def haas_otel_on_end(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """End the span when the run is Completed or Failed."""
    running = live.get(task_run.id)
    if running is not None:
        _end(running, task_run, span.ending_of(state))


@contextmanager
def current() -> Iterator[LiveSpan | None]:
    """Make the span of the current task run the current span, for the time of the body."""
    run_context = TaskRunContext.get()
    running = live.get(run_context.task_run.id) if run_context else None
    if running is None or running.in_body:  # called by hand, in no run or as a part of this one
        yield None
        return
    running.in_body = True
    token = context.attach(trace.set_span_in_context(running.span))
    try:
        yield running
    finally:
        context.detach(token)
        running.in_body = False


def note_result(running: LiveSpan | None, result: object) -> None:
    """End the span of a run whose body returns a Cancelled or Crashed state: no hook will."""
    if running is None or not isinstance(result, State):
        return
    if result.is_cancelled() or result.is_crashed():
        with span.never_failing():
            _stopped(running, span.ending_of(result))


def note_retry(task_run: TaskRun, state: State[Any]) -> None:
    """Note a failed attempt that another will follow, on the span and on the run's labels."""
    running = live.get(task_run.id)
    if running is None:
        return
    exception = span.exception_in(state)
    retry = labels.Retry(
        attempt=task_run.run_count,
        at=time.time_ns(),
        exception_type=span.type_name(exception) if exception else "prefect.exceptions.FailedRun",
        exception_message=(str(exception) if exception else state.message) or "",
    )
    span.retrying(running.span, retry)
    earlier = labels.read_learnt(task_run.labels)
    labels.write_learnt(
        task_run.labels, labels.Learnt((*earlier.retries, retry), body_attributes(running.span))
    )


def settle_live(flow_run_id: UUID | None = None) -> list[UUID]:
    """End the spans of ended task runs for which Prefect called no hook; return their ids.

    Such are runs interrupted while they waited for a retry. Runs that still go on, in threads, are
    left alone. What a flow run leaves when its process exits is left to whoever settles that: the
    records hold all that there is to tell.

    Args:
        flow_run_id: settle this flow run's task runs; by default those without a flow.
    """
    ended = []
    for running in list(live.values()):
        state = running.task_run.state
        if running.task_run.flow_run_id == flow_run_id and state is not None and state.is_final():
            _stopped(running, span.ending_of(state))
            ended.append(running.task_run.id)
    return ended


span.at_exit(settle_live)


def call_cancellation_hooks(task: Task[..., Any], task_run: TaskRun) -> None:
    """Call the task's ``on_cancellation`` hooks as Prefect calls its own: logged, never raising."""
    state: State[Any] = Cancelled(message=span.CANCELLED_MESSAGE)
    for hook in getattr(task, "on_cancellation_hooks", ()):
        _call_hook(hook, task, task_run, state)


def body_attributes(running: Span) -> Mapping[str, Any]:
    """Return what the body set on the span: all but the contract's own and Prefect's."""
    attributes: Mapping[str, Any] = getattr(running, "attributes", None) or {}
    return {
        key: value
        for key, value in attributes.items()
        if not key.startswith(("task.", "prefect.", "exception."))
    }


def _end(running: LiveSpan, task_run: TaskRun, ending: span.Ending) -> None:
    if live.pop(task_run.id, None) is not None:
        span.end(running.span, task_run, ending)
        told.append(task_run.id)


def _interrupted(running: LiveSpan, exception: BaseException | None) -> None:
    now = time.time_ns()
    if exception is None or isinstance(exception, INTERRUPTIONS):
        _stopped(running, span.cancelled(now))
    else:
        _stopped(running, span.failed(exception, now))
    if exception is None or isinstance(exception, _WITHOUT_A_STATE):
        with span.never_failing():
            _mark_on_the_flow_run(running.task_run)


def _stopped(running: LiveSpan, ending: span.Ending) -> None:
    _end(running, running.task_run, ending)
    # Leaves with the state that follows: whoever reads the run knows it is told.
    running.task_run.labels[labels.SETTLED] = ending.status
    if ending.status == "Cancelled":
        call_cancellation_hooks(running.task, running.task_run)


def _mark_on_the_flow_run(task_run: TaskRun) -> None:
    if task_run.flow_run_id is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(
                task_run.flow_run_id,
                labels.told([task_run.id], task_run.labels.get(labels.LEDGER)),
            )


def _call_hook(
    hook: StateHookCallable, task: Task[..., Any], task_run: TaskRun, state: State[Any]
) -> None:
    logger = task_run_logger(task_run=task_run, task=task)
    name = getattr(hook, "__name__", type(hook).__name__)
    logger.info("Running hook %r in response to entering state %r", name, state.name)
    try:
        result = hook(task, task_run, state)
        if inspect.iscoroutine(result):
            run_coro_as_sync(result)
    except Exception:
        logger.exception("An error was encountered while running hook %r", name)
    else:
        logger.info("Hook %r finished running successfully", name)


class _OwnHooksUnlogged(logging.Filter):
    """Drop Prefect's two INFO lines a hook for our own: four lines a task run that tell nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.msg
        return not (
            record.levelno == logging.INFO
            and isinstance(message, str)
            and message.startswith(("Running hook 'haas_otel_", "Hook 'haas_otel_"))
        )


for _name in ("prefect.engine", "prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_OwnHooksUnlogged())
