"""The hooks: Prefect's state changes of task runs and flow runs drive spans from start to end.

Prefect calls a task's ``on_running`` on every attempt, and once more with the very same state while
a termination or a crash unwinds the run; then no terminal hook comes. That repetition is how a task
learns here that it was interrupted. A flow's ``on_cancellation`` and ``on_crashed`` it calls in
whatever process is at hand: the run's own, a short-lived third one, or the runner's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from ctypes import c_ulong, py_object, pythonapi
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from anyio import CancelScope, to_thread
from opentelemetry import context, trace
from prefect.client.schemas.objects import State, StateType
from prefect.context import TaskRunContext
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.states import is_state_iterable
from prefect.utilities.asyncutils import run_coro_as_sync

from haas_otel import (
    _prefect,
    decision,
    ended_by,
    history,
    ids,
    reconciler,
    records,
    server,
    span,
)
from haas_otel._prefect import ENGINES, OWN_FLOW_RUN
from haas_otel.span import LiveSpan, live

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from prefect.client.schemas.objects import FlowRun, TaskRun
    from prefect.flows import Flow
    from prefect.tasks import StateHookCallable, Task

# After these Prefect gives the task run no state any more: the server shows it Running for ever.
_WITHOUT_A_STATE = (Exception, Pause, Abort, GeneratorExit)
# Of states that a body returns: for the first two Prefect calls a hook, with the others it goes on,
# and calls the body again.
_WITH_A_HOOK = (StateType.COMPLETED, StateType.FAILED, StateType.RUNNING, StateType.SCHEDULED)

# The key in OpenTelemetry's context of the id of the task run whose body goes on.
BODY_OF = context.create_key("haas_otel_body_of")
_logger = logging.getLogger(__name__)
# The flow runs that go on here: the outermost around each, and this process's id, as a forked child
# has its parent's.
_begun: dict[UUID, tuple[UUID, int]] = {}
# Cleared where a flow run's process is still importing its flow: it does not know all tasks yet.
_knows_tasks = threading.Event()
_knows_tasks.set()

# What is left to do of an end, for Prefect to wait for.
Later: TypeAlias = "Coroutine[Any, Any, None]"


def note_process() -> None:
    """Leave the start record of this process's flow run: it may die before the run begins."""
    own = os.environ.get(OWN_FLOW_RUN)
    is_engines = own and span.enabled() and ENGINES & set(sys.orig_argv)
    if is_engines and (flow_run_id := UUID(own)) not in _begun:
        _knows_tasks.clear()
        _begin(flow_run_id, flow_run_id)


def settle_others() -> None:
    """Settle what processes left that died, when this one can call the hooks of their tasks.

    And what in this one was interrupted while it waited for a retry: no hook says so, and the
    process, or its flow run, may go on for long.
    """
    _knows_tasks.wait()
    for running in list(live.values()):
        if (state := running.task_run.state) is not None and state.is_crashed():
            _wait_for(_end(running, span.ending_of(state), no_hook=True, no_state=True))
    reconciler.settle_here()


def haas_otel_on_begun(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> Later | None:
    """Set up where no application does, and leave the flow run's start record."""
    if not span.enabled():
        return None
    _knows_tasks.set()
    ids.remember_caller(flow_run)
    if OWN_FLOW_RUN in os.environ:
        span.tracer()  # the first task would do it: now, what is logged before is sent, too
    _begin(flow_run.id, _outermost((ids.current_flow_run() or flow_run).id))
    return history.begin(flow_run)


def haas_otel_on_running(
    task: Task[..., Any], task_run: TaskRun, state: State[Any]
) -> Later | None:
    """Start the span on the first attempt; end it when the run is being interrupted."""
    # Switched off when the run was introduced; or its span is ended, and Prefect unwinds it later.
    if records.TASK_TYPE not in task_run.labels or records.ENDED in task_run.labels:
        return None
    running = live.get(task_run.id)
    if running is None:
        within = None if records.DEFERRED in task_run.labels else task_run.flow_run_id
        root_id = _outermost(within) if within else None
        flow_run = ids.current_flow_run()
        run = span.run_of(task_run, flow_run, root_id)
        span.tracer()  # the record names the exporters, which the set-up chooses
        if disk := records.disk():
            hooks = bool(reconciler.cancellation_hooks(task))
            disk.begin(run.key, records.of_task(run, hooks=hooks))
        started = span.start(run)
        _prefect.note_latest(flow_run, started)
        live[task_run.id] = LiveSpan(started, run, task, task_run, state.id, os.getpid(), disk)
        span.announce(started, run)
    elif running.attempt != state.id:
        running.attempt = state.id
    else:
        return _interrupted(running, sys.exception())
    return None


@contextmanager
def current() -> Iterator[Callable[[Any], Any]]:
    """Make the span of the current task run the current span, for the time of the body.

    What the body returns is to go through what this yields.
    """
    run_context = TaskRunContext.get()
    running = live.get(run_context.task_run.id) if run_context else None
    if running is None or running.in_body:  # called by hand, in no run or as a part of this one
        yield lambda result: result
        return
    running.in_body = True
    if running.run.root_id is None:
        running.interrupt = _interruption()
    body = context.set_value(BODY_OF, running.task_run.id)
    token = context.attach(trace.set_span_in_context(span.BodySpan(running.span), body))
    try:
        yield lambda result: _returned(running, result)
    finally:
        running.interrupt = None
        context.detach(token)
        running.in_body = False


def _returned(running: LiveSpan, result: Any) -> Any:
    """End the span of a run whose body returns a state after which Prefect calls no hook."""
    state = None
    if isinstance(result, State) and not _is_of_a_run(result):
        state = result
    elif isinstance(result, State) or is_state_iterable(result):
        # The first of these decides; without one the run is Completed or Failed.
        found = [result] if isinstance(result, State) else result
        odd = [each for each in found if each.is_cancelled() or each.is_paused()]
        state = max(odd, key=State.is_cancelled, default=None)
    if state is not None and state.type not in _WITH_A_HOOK:
        ending = span.ending_of(state)._replace(at=time.time_ns(), by="self")
        with span.never_failing():
            _wait_for(_end(running, ending, no_hook=True))
    return result


def _is_of_a_run(state: State[Any]) -> bool:
    """Say whether a state is that of some run, and none that was made to be returned."""
    return bool(state.state_details.flow_run_id or state.state_details.task_run_id)


def note_retry(task_run: TaskRun, state: State[Any]) -> None:
    """Note a failed attempt that another will follow: on the span, on disk, on the labels."""
    running = live.get(task_run.id)
    if running is None or running.pid != os.getpid():
        return
    said = _prefect.said_by(state)
    failure = span.failed(span.exception_in(said), time.time_ns(), said.message)
    retry = records.Retry(
        task_run.run_count,
        max(failure.at, running.run.start),  # within the span, though the clock may be set back
        failure.exception_type or "",
        failure.message,
    )
    span.retrying(running.span, retry)
    running.retries += (retry,)
    set_by_body: Mapping[str, Any] = getattr(running.span, "attributes", None) or {}
    own = {key: value for key, value in set_by_body.items() if not span.is_ours(key)}
    learnt = records.Learnt(running.retries, own)
    if running.disk is not None:
        hooks = bool(reconciler.cancellation_hooks(running.task))
        running.disk.begin(running.run.key, records.of_task(running.run, learnt, hooks=hooks))
    records.write_learnt(task_run.labels, learnt)


def haas_otel_on_end(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> Later | None:
    """End the span when the run is Completed or Failed."""
    running = live.get(task_run.id)
    return None if running is None else _end(running, span.ending_of(state))


def haas_otel_on_ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> Later | None:
    """End what a flow run has left; where it was cancelled or has crashed, in whatever process."""
    if not span.enabled():
        return None
    ids.remember_caller(flow_run)
    later = [_end_left(flow_run.id)]
    if history.why_never_began(flow_run):
        later.append(to_thread.run_sync(history.count_own, flow_run.id))
    is_last = isinstance(sys.exception(), TerminationSignal) and (
        _outermost(flow_run.id) == flow_run.id and not _prefect.is_cancelled_by_its_runner()
    )
    if is_last:  # the signal ends this process without its exit functions
        later.append(to_thread.run_sync(span.deliver_last))
    if not _close(flow_run.id):  # what its own process has ended needs no request
        reconciler.settle_stopped(flow_run.id, state)
    return _all(later)


TASK_HOOKS: dict[str, StateHookCallable] = {
    "on_running": haas_otel_on_running,
    "on_completion": haas_otel_on_end,
    "on_failure": haas_otel_on_end,
}
FLOW_HOOKS: dict[str, Callable[..., Any]] = {
    "on_running": haas_otel_on_begun,
    "on_completion": haas_otel_on_ended,
    "on_failure": haas_otel_on_ended,
    "on_cancellation": haas_otel_on_ended,
    "on_crashed": haas_otel_on_ended,
}


def end_left_at_exit() -> None:
    """End what task runs without a flow have left, when the process exits, and those that go on.

    And task runs between two attempts, of a flow run that was suspended: nothing calls a hook then.
    """
    later = [_end_left(None)]
    alone = span.without_flow()
    interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    for running in alone:  # in a loop or a thread that goes with the process
        ending = span.cancelled(time.time_ns(), "user" if interrupted else "self")
        later.append(_end(running, ending, no_hook=True))
    for running in list(live.values()):
        state = running.task_run.state
        if state is not None and state.is_scheduled():
            ending = span.cancelled(time.time_ns(), "self")
            later.append(_end(running, ending, no_hook=True, no_state=True))
    _wait_for(_all(later))

    def report(asked: server.Server) -> None:
        for running in alone:
            asked.crash_alone(running.task_run.id, "Its process has ended.")

    if alone:
        with suppress(RuntimeError):  # no thread is begun any more
            server.within_bound(report)


def end_interrupted(running: LiveSpan) -> None:
    """End the span of a run whose body does not heed its interruption, and whose process ends."""
    _wait_for(_end(running, span.cancelled(time.time_ns(), "system"), no_hook=True))
    _prefect.report_crashed(running.task_run, "The system stopped the process.")


class _Terminated(TerminationSignal):
    """Is raised in a thread, which makes it without arguments."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)


def _interruption() -> Callable[[], object]:
    """Return what interrupts the body that goes on here, called from any thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is not None:
        return partial(task.get_loop().call_soon_threadsafe, task.cancel)
    here = c_ulong(threading.get_ident())
    return partial(pythonapi.PyThreadState_SetAsyncExc, here, py_object(_Terminated))


def _end_left(flow_run_id: UUID | None) -> Later | None:
    """End the spans of ended task runs of a flow run, or without one, that got no hook.

    Such are runs interrupted while they waited for a retry, and generators that nobody exhausted.
    Runs that still go on, in threads, are left alone: when the process exits, the disk has them.
    """
    later: list[Later | None] = []
    for running in list(live.values()):
        state = running.task_run.state
        within = running.run.flow_run_id if running.run.root_id else None
        if within != flow_run_id or state is None:
            continue
        if state.is_final() or running.task.isgenerator:
            # Of a generator nobody wants more from now on.
            unfinished = span.Ending("Completed", time.time_ns())
            ending = span.ending_of(state) if state.is_final() else unfinished
            # Its last state has left without a word of this.
            later.append(_end(running, ending, no_hook=True, no_state=True))
    return _all(later)


def _interrupted(running: LiveSpan, exception: BaseException | None) -> Later | None:
    now, interruption = time.time_ns(), ended_by.interruption_in(exception)
    if isinstance(exception, GeneratorExit) and running.task.isgenerator:  # nobody wants more
        ending = span.Ending("Completed", now)
    elif exception is None or interruption is not None:
        ending = span.cancelled(now, ended_by.by_interruption(interruption))
    else:
        ending = span.failed(exception, now)
    no_state = exception is None or isinstance(exception, _WITHOUT_A_STATE)
    return _end(running, ending, no_hook=True, no_state=no_state)


def _end(
    running: LiveSpan, ending: span.Ending, *, no_hook: bool = False, no_state: bool = False
) -> Later | None:
    """End a span of this process, and return what needs the server.

    With ``no_hook`` Prefect calls none of the task's for this end, with ``no_state`` it does not
    report the task run again.
    """
    if running.pid != os.getpid() or live.pop(running.task_run.id, None) is None:
        return None
    if running.ended_by and ending.status == "Cancelled":
        ending = ending._replace(by=running.ended_by)
    # Silent for so long, its machine may have been given up, and its span ended by another.
    took = ending.at - running.run.start
    in_flow = running.run.root_id is not None
    is_long = took > decision.SECOND and took > decision.silence()
    asks_who = ending.status == "Cancelled" and ending.by is None
    asks = in_flow and (is_long or asks_who)
    if not asks:
        _act(running, decision.Evidence(now=ending.at, own=ending))
    later: list[Later | None] = []
    if no_hook:
        # Leaves with the state that follows: whoever reads the run knows that its span is ended.
        running.task_run.labels[records.ENDED] = ending.status
        if ending.status == "Cancelled":
            later.append(reconciler.call_cancellation_hooks(running.task, running.task_run))
    marks = no_state and in_flow
    if asks or marks:
        later.append(_ask(running, ending if asks else None, is_long=is_long, marks=marks))
    return _all(later)


async def _ask(
    running: LiveSpan, ending: span.Ending | None, *, is_long: bool, marks: bool
) -> None:
    """End a span if no other machine has, and mark what no state of the task run can carry."""
    run, machine = running.run, running.disk.machine if running.disk else None

    def is_spoken_for(asked: server.Server) -> bool:
        return records.is_spoken_for(asked.flow_run(run.flow_run_id), run.task_run_id, machine)

    def mark(asked: server.Server) -> None:
        asked.mark(run.flow_run_id, records.spoken_for([run.task_run_id], machine))

    with CancelScope(shield=True):
        if ending is not None:
            spoken_for = False
            try:
                if ending.by is None and ending.status == "Cancelled":
                    ending = ending._replace(by="user")
                    by = await to_thread.run_sync(server.who_cancelled, run.root_id)
                    ending = ending._replace(by=by)
                if is_long:
                    spoken_for = await to_thread.run_sync(server.within_bound, is_spoken_for)
            finally:  # a second signal may strike meanwhile: nobody knows this end better
                spoken = bool(spoken_for)
                _act(running, decision.Evidence(now=ending.at, own=ending, spoken_for=spoken))
        if marks:
            await to_thread.run_sync(server.within_bound, mark)


def _act(running: LiveSpan, evidence: decision.Evidence) -> None:
    answer = decision.decide(evidence)
    if isinstance(answer, decision.End):
        span.end(running.span, running.run, answer.ending, running.retries)
    else:
        _logger.warning(
            "The span of task run %s was ended by another machine, which took this one for gone;"
            " here it ended otherwise, and no second span is made: %s",
            *(running.task_run.id, evidence.own),
        )
    if running.disk is not None:
        running.disk.end(running.run.key)


def _begin(flow_run_id: UUID, root_id: UUID) -> None:
    """Leave a flow run's start record."""
    _begun[flow_run_id] = root_id, os.getpid()
    if disk := records.disk():
        disk.begin(records.FLOW(flow_run_id), records.of_flow(flow_run_id, time.time_ns(), root_id))


def _close(flow_run_id: UUID) -> bool:
    """Close a flow run's start record, and say whether it was this process's."""
    mine = _begun.get(flow_run_id, (None, 0))[1] == os.getpid()
    if mine:
        del _begun[flow_run_id]
        history.end(flow_run_id)
        if disk := records.disk():
            disk.end(records.FLOW(flow_run_id))
    return mine


def _outermost(flow_run_id: UUID) -> UUID:
    """Return the outermost flow run of this process in which a flow run goes on."""
    if known := _begun.get(flow_run_id):
        return known[0]
    own = os.environ.get(OWN_FLOW_RUN)
    return UUID(own) if own else flow_run_id


def _all(later: list[Later | None]) -> Later | None:
    left = [each for each in later if each is not None]

    async def await_all() -> None:
        for each in left:
            await each

    return await_all() if left else None


def _wait_for(later: Later | None) -> None:
    if later is not None:
        run_coro_as_sync(later)


def _is_not_of_ours(record: logging.LogRecord) -> bool:
    """Drop Prefect's two INFO lines a hook for our own: four lines a task run that tell nothing."""
    return not str(record.msg).startswith(("Running hook 'haas_otel_", "Hook 'haas_otel_"))


for _name in ("prefect.engine", "prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_is_not_of_ours)
