"""The hooks: Prefect's state changes of a task run drive its span from start to end.

Prefect calls ``on_running`` on every attempt, and once more with the very same state while a
termination or a crash unwinds the run; then no terminal hook comes. That repetition is how a task
learns here that it was interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anyio import CancelScope, to_thread
from opentelemetry import context, trace
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.logging.loggers import task_run_logger
from prefect.states import Cancelled
from prefect.utilities.asyncutils import run_coro_as_sync

from haas_otel import decision, labels, records, server, span

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping
    from uuid import UUID

    from opentelemetry.trace import Span
    from prefect.client.schemas.objects import TaskRun
    from prefect.tasks import StateHookCallable, Task

    from haas_otel.records import Disk
    from haas_otel.span import Run

# What stops a task from outside. Anything else that is raised, SystemExit too, is its own failure.
INTERRUPTIONS = (KeyboardInterrupt, TerminationSignal, asyncio.CancelledError, Pause, Abort)
# After these Prefect gives the task run no state any more: the server shows it Running for ever.
_WITHOUT_A_STATE = (Exception, Pause, Abort, GeneratorExit)

# The key in OpenTelemetry's context of the id of the task run whose body goes on.
BODY_OF = context.create_key("haas_otel_body_of")
_logger = logging.getLogger(__name__)

# What is left to do of an end, for Prefect to wait for.
Later: TypeAlias = "Coroutine[Any, Any, None]"


@dataclass(slots=True)
class LiveSpan:
    """A span whose task run this process runs."""

    span: Span
    run: Run
    task: Task[..., Any]
    task_run: TaskRun
    attempt: UUID  # the id of the Running state
    pid: int
    disk: Disk | None = None
    retries: tuple[labels.Retry, ...] = ()
    in_body: bool = False


# The one registry. A forked child has its parent's entries, and leaves them alone.
live: dict[UUID, LiveSpan] = {}


def haas_otel_on_running(
    task: Task[..., Any], task_run: TaskRun, state: State[Any]
) -> Later | None:
    """Start the span on the first attempt; end it when the run is being interrupted."""
    # Switched off when the run was introduced; or its span is ended, and Prefect unwinds it later.
    if labels.TASK_TYPE not in task_run.labels or labels.ENDED in task_run.labels:
        return None
    running = live.get(task_run.id)
    if running is None:
        flow_context = FlowRunContext.get()
        run = span.run_of(task_run, flow_context.flow_run if flow_context else None)
        span.tracer()  # the record names the exporters, which the set-up chooses
        if disk := records.disk():
            disk.begin(run.key, records.of_task(run))
        started = span.start(run)
        live[task_run.id] = LiveSpan(started, run, task, task_run, state.id, os.getpid(), disk)
    elif running.pid != os.getpid():
        return None
    elif running.attempt != state.id:
        running.attempt = state.id
    else:
        return _interrupted(running, sys.exception())
    return None


def haas_otel_on_end(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> Later | None:
    """End the span when the run is Completed or Failed."""
    running = live.get(task_run.id)
    return None if running is None else _end(running, span.ending_of(state))


TASK_HOOKS: dict[str, StateHookCallable] = {
    "on_running": haas_otel_on_running,
    "on_completion": haas_otel_on_end,
    "on_failure": haas_otel_on_end,
}


@contextmanager
def current() -> Iterator[LiveSpan | None]:
    """Make the span of the current task run the current span, for the time of the body."""
    run_context = TaskRunContext.get()
    running = live.get(run_context.task_run.id) if run_context else None
    if running is None or running.in_body:  # called by hand, in no run or as a part of this one
        yield None
        return
    running.in_body = True
    body = context.set_value(BODY_OF, running.task_run.id)
    token = context.attach(trace.set_span_in_context(span.BodySpan(running.span), body))
    try:
        yield running
    finally:
        context.detach(token)
        running.in_body = False


def note_result(running: LiveSpan | None, result: object) -> None:
    """End the span of a run whose body returns a state after which Prefect calls no hook."""
    if running is None or not isinstance(result, State):
        return
    if not (result.is_completed() or result.is_failed()):
        with span.never_failing():
            if (later := _stopped(running, span.ending_of(result))) is not None:
                run_coro_as_sync(later)


def note_retry(task_run: TaskRun, state: State[Any]) -> None:
    """Note a failed attempt that another will follow: on the span, on disk, on the labels."""
    running = live.get(task_run.id)
    if running is None:
        return
    failure = span.failed(span.exception_in(state), time.time_ns(), state.message)
    retry = labels.Retry(
        task_run.run_count,
        max(failure.at, running.run.start),  # within the span, though the clock may be set back
        failure.exception_type or "",
        failure.message,
    )
    span.retrying(running.span, retry)
    running.retries += (retry,)
    set_by_body: Mapping[str, Any] = getattr(running.span, "attributes", None) or {}
    own = {key: value for key, value in set_by_body.items() if not span.is_ours(key)}
    learnt = labels.Learnt(running.retries, own)
    if running.disk is not None:
        running.disk.begin(running.run.key, records.of_task(running.run, learnt))
    labels.write_learnt(task_run.labels, learnt)


def end_left(flow_run_id: UUID | None = None) -> list[Later]:
    """End the spans of ended task runs for which Prefect called no hook.

    Such are runs interrupted while they waited for a retry, and generators that nobody exhausted.
    Runs that still go on, in threads, are left alone: when the process exits, the disk has them.

    Args:
        flow_run_id: of this flow run's task runs; by default of those without a flow.
    """
    later: list[Later] = []
    for running in list(live.values()):
        state = running.task_run.state
        if running.task_run.flow_run_id != flow_run_id or running.pid != os.getpid():
            continue
        if state is not None and (state.is_final() or running.task.isgenerator):
            # Its last state has left without a word of this.
            later.append(_mark(running.task_run, _stopped(running, span.ending_of(state))))
    return later


def end_left_at_exit() -> None:
    """End what task runs without a flow have left, when the process exits."""
    for later in end_left():
        run_coro_as_sync(later)


def call_cancellation_hooks(task: Task[..., Any], task_run: TaskRun) -> None:
    """Call the task's ``on_cancellation`` hooks as Prefect calls its own: logged, never raising."""
    state: State[Any] = Cancelled(message=span.CANCELLED_MESSAGE)
    for hook in getattr(task, "on_cancellation_hooks", ()):
        _call_hook(hook, task, task_run, state)


def _end(running: LiveSpan, ending: span.Ending) -> Later | None:
    if running.pid != os.getpid() or live.pop(running.task_run.id, None) is None:
        return None
    # Silent for so long, its machine may have been given up, and its span ended by another.
    took = ending.at - running.run.start
    if took > decision.SECOND and running.run.flow_run_id and took > decision.silence():
        return _end_unless_spoken_for(running, ending)
    _act(running, decision.Evidence(now=ending.at, own=ending))
    return None


async def _end_unless_spoken_for(running: LiveSpan, ending: span.Ending) -> None:
    with CancelScope(shield=True):
        other = await to_thread.run_sync(server.who_spoke_for, running.run)
    _act(running, decision.Evidence(now=ending.at, own=ending, spoken_for=bool(other)))


def _act(running: LiveSpan, evidence: decision.Evidence) -> None:
    answer = decision.decide(evidence)
    if isinstance(answer, decision.End):
        at = max(answer.ending.at, *(retry.at for retry in running.retries), 0)
        span.end(running.span, running.run, answer.ending._replace(at=at))
    else:
        _logger.warning(
            "The span of task run %s was ended by another machine, which took this one for gone;"
            " here it ended otherwise, and no second span is made: %s",
            *(running.task_run.id, evidence.own),
        )
    if running.disk is not None:
        running.disk.end(running.run.key)


def _interrupted(running: LiveSpan, exception: BaseException | None) -> Later | None:
    now = time.time_ns()
    if isinstance(exception, GeneratorExit):  # its consumer wants no more of it
        later = _stopped(running, span.Ending("Completed", now))
    elif exception is None or isinstance(exception, INTERRUPTIONS):
        later = _stopped(running, span.cancelled(now))
    else:
        later = _stopped(running, span.failed(exception, now))
    if exception is None or isinstance(exception, _WITHOUT_A_STATE):
        return _mark(running.task_run, later)
    return later


def _stopped(running: LiveSpan, ending: span.Ending) -> Later | None:
    later = _end(running, ending)
    # Leaves with the state that follows: whoever reads the run knows that its span is ended.
    running.task_run.labels[labels.ENDED] = ending.status
    if ending.status == "Cancelled":
        call_cancellation_hooks(running.task, running.task_run)
    return later


async def _mark(task_run: TaskRun, first: Later | None) -> None:
    """Mark on the flow run what no state of the task run can carry to the server."""
    if first is not None:
        await first
    if (flow_run_id := task_run.flow_run_id) is not None:
        disk = records.disk()
        mark = labels.spoken_for([task_run.id], disk.machine if disk else None)
        with CancelScope(shield=True):
            await to_thread.run_sync(
                server.within_bound, lambda asked: asked.mark(flow_run_id, mark)
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
