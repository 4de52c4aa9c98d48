"""Settling: ending the spans of task runs whose process cannot do it any more.

Prefect runs a flow's ``on_cancellation`` and ``on_crashed`` hooks in whatever process is at hand:
the run's own, a short-lived third one, or the runner's. Each of them sees the same records, and
makes from them the same spans as the run's process would have.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from os import environ
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakValueDictionary

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.sorting import TaskRunSort

from haas_otel import hooks, labels, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.flows import Flow
    from prefect.tasks import Task

PAGE = 200  # the server's largest page
SECOND_LOOKS = (timedelta(seconds=1), timedelta(seconds=2), timedelta(0))


class Ledger(Protocol):
    """Where finished task spans are written down, shared by the processes of one machine."""

    @property
    def id(self) -> str:
        """The ledger's own id, the same in every process that shares it."""

    def has(self, trace_id: int, span_id: int) -> bool:
        """Say whether a span is written down."""

    def remembers(self, moment_ns: int) -> bool:
        """Say whether what was written down of task runs ended since then still is."""


_ledger: Callable[[], Ledger | None] = lambda: None  # noqa: E731
_tasks: WeakValueDictionary[str, Task[..., Any]] = WeakValueDictionary()


def ledger_with(find: Callable[[], Ledger | None]) -> None:
    """Have ``find`` return the ledger of this process, or None where there is none."""
    global _ledger
    _ledger = find


def ledger_id() -> str | None:
    """Return the id of this process's ledger."""
    ledger = _ledger()
    return ledger.id if ledger else None


def remember(task: Task[..., Any]) -> None:
    """Remember a task, so that a process which only imported it can call its hooks."""
    _tasks[task.task_key] = task


def haas_otel_on_begun(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Set up where no application does, and settle what a flow run's earlier attempts left."""
    if "PREFECT__FLOW_RUN_ID" in environ and span.enabled():
        span.tracer()  # the first task would do it: now, what is logged before is sent, too
    if flow_run.run_count > 1 and span.enabled():
        with get_client(sync_client=True) as client:
            settle_flow_run(client, flow_run, state, earlier_attempts=True)


def haas_otel_on_ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End what is left in this process when a flow run is Completed or Failed."""
    if ended := hooks.settle_live(flow_run.id):
        with get_client(sync_client=True) as client:
            _mark_told(client, flow_run, ended)


def haas_otel_on_stopped(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Settle a flow run that was cancelled or has crashed."""
    hooks.settle_live(flow_run.id)
    if span.enabled():
        with get_client(sync_client=True) as client:
            # The server writes task runs down from a stream of events, with some delay.
            for pause in SECOND_LOOKS:
                # What Prefect hands over may be older than what others have marked on it.
                known = client.read_flow_run(flow_run.id)
                if settle_flow_run(
                    client,
                    known,
                    state,
                    earlier_attempts=_runs_again(known, state),
                    wait_for_records=bool(pause),
                ).seen_all:
                    return
                time.sleep(pause.total_seconds())


FLOW_HOOKS: dict[str, Callable[..., None]] = {
    "on_running": haas_otel_on_begun,
    "on_completion": haas_otel_on_ended,
    "on_failure": haas_otel_on_ended,
    "on_cancellation": haas_otel_on_stopped,
    "on_crashed": haas_otel_on_stopped,
}


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settling did: the spans ended, and the task runs that still go on in this process.

    ``seen_all`` is False where the record of a task run may not have reached the server yet.
    """

    ended: tuple[UUID, ...]
    going_on: tuple[UUID, ...]
    seen_all: bool


def settle_flow_run(
    client: SyncPrefectClient,
    flow_run: FlowRun,
    state: State[Any],
    *,
    earlier_attempts: bool = False,
    wait_for_records: bool = False,
) -> Settled:
    """End the spans of all started task runs of an ended flow run that nobody ended.

    Args:
        client: a client of the Prefect API.
        flow_run: the outermost flow run; those nested in its process are settled with it.
        state: the state that ended it: Cancelling or Cancelled, Crashed, or any terminal state.
        earlier_attempts: settle only what attempts before the flow run's current one left.
        wait_for_records: leave alone what only a later record can show to be told.

    Idempotent: the ids are computed, and what the ledger holds or the labels tell is left alone.
    """
    ended: list[UUID] = []
    going_on: list[UUID] = []
    seen: list[TaskRun] = []
    late: list[TaskRun] = []
    for owner in _with_nested(client, flow_run):
        found = _task_runs(client, owner)
        seen += found
        started = [run for run in found if labels.TASK_TYPE in run.labels and run.start_time]
        going_on += [run.id for run in started if run.id in hooks.live]
        if earlier_attempts:
            # Of nested flow runs the current attempt has none yet when it begins.
            started = [run for run in started if owner is not flow_run or _is_earlier(run, owner)]
        open_ = [run for run in started if run.id not in hooks.live and not _settled(run, owner)]
        if wait_for_records:
            late += [run for run in open_ if _may_be_late(run, owner)]
            open_ = [run for run in open_ if run not in late]
        untold = [run for run in open_ if not _told_here(run, owner)]
        # The marks go first: what they cannot be put on is left to who comes next.
        _mark_told(client, owner, [run.id for run in open_ if not _returned(run)])
        for task_run in untold:
            current = not earlier_attempts and not _is_earlier(task_run, owner)
            ended_by = state if current else _end_of_attempt(client, flow_run, owner, task_run)
            _tell(task_run, owner, _ending_of(task_run, ended_by))
            ended.append(task_run.id)
    seen_all = bool(seen) and all(run.start_time for run in seen) and not late
    return Settled(tuple(ended), tuple(going_on), seen_all)


def _runs_again(flow_run: FlowRun, ended_by: State[Any]) -> bool:
    """Say whether another attempt has begun since the state that ended one."""
    now = flow_run.state
    return now is not None and now.is_running() and now.timestamp > ended_by.timestamp


def _with_nested(client: SyncPrefectClient, flow_run: FlowRun) -> Iterator[FlowRun]:
    yield flow_run
    parents = [flow_run.id]
    while parents:
        within = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents))
        found = pages(client.read_flow_runs, flow_run_filter=within)
        # A child with a deployment has a process and hooks of its own.
        nested = [run for run in found if run.deployment_id is None]
        yield from nested
        parents = [run.id for run in nested]


def _task_runs(client: SyncPrefectClient, flow_run: FlowRun) -> list[TaskRun]:
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    return pages(client.read_task_runs, flow_run_filter=mine, sort=TaskRunSort.END_TIME_DESC)


def pages(read: Callable[..., list[Any]], **query: Any) -> list[Any]:
    """Return all that a reading of the API finds: one request a page, the last not a full one."""
    found: list[Any] = []
    while len(page := read(**query, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    return found + page


def _is_earlier(task_run: TaskRun, owner: FlowRun) -> bool:
    return 0 < task_run.flow_run_run_count < owner.run_count


def _end_of_attempt(
    client: SyncPrefectClient, flow_run: FlowRun, owner: FlowRun, task_run: TaskRun
) -> State[Any]:
    """Return the state of a flow run, or of the outermost, that ended a task run's attempt."""
    history = [
        state for each in {flow_run.id, owner.id} for state in client.read_flow_run_states(each)
    ]
    history.sort(key=lambda state: state.timestamp)
    later = [state for state in history if state.timestamp >= cast("Any", task_run.start_time)]
    # One that was paused goes on in the same attempt; one that failed may wait for the next.
    ends = [
        state
        for state in later
        if state.is_final() or state.is_cancelling() or state.name == "AwaitingRetry"
    ]
    return (ends or [state for state in later if not state.is_running()] or history[-1:])[0]


def _settled(task_run: TaskRun, owner: FlowRun) -> bool:
    """Say whether the records alone show, on any machine, that others tell a task run's span."""
    if labels.SETTLED in task_run.labels or task_run.flow_run_run_count > owner.run_count:
        return True  # told by its own process; or begun after the end that is being settled
    # A process that lived to see its task return or raise has told it, and who marks it tells it
    # next; but where the disk of one of them can be asked, that is asked.
    marked = labels.TOLD + str(task_run.id) in owner.labels
    return (marked or _returned(task_run)) and _shared_ledger(task_run, owner) is None


def _returned(task_run: TaskRun) -> bool:
    """Say whether a task run's own process gave it its end: anybody can cancel or crash one."""
    return task_run.state is not None and (
        task_run.state.is_completed() or task_run.state.is_failed()
    )


def _may_be_late(task_run: TaskRun, owner: FlowRun) -> bool:
    """Say whether a later record may show that a task run's own process has told its span."""
    final = task_run.state is not None and task_run.state.is_final()
    own = task_run.id in hooks.told
    return not final and not own and _shared_ledger(task_run, owner) is None


def _shared_ledger(task_run: TaskRun, owner: FlowRun) -> Ledger | None:
    """Return this process's ledger if who ran the task, or marked it as told, wrote to it, too."""
    ledger = _ledger()
    writers = task_run.labels.get(labels.LEDGER), owner.labels.get(labels.TOLD + str(task_run.id))
    return ledger if ledger and ledger.id in writers else None


def _told_here(task_run: TaskRun, owner: FlowRun) -> bool:
    """Say whether this process, or one that shares its ledger, has told the span of a task run."""
    if task_run.id in hooks.told:
        return True
    ledger = _shared_ledger(task_run, owner)
    if ledger is None:
        return False
    context = span.context_of(task_run)
    if ledger.has(context.trace_id, context.span_id):
        return True
    # What the ledger has removed in the meantime the records have to show.
    marked = labels.TOLD + str(task_run.id) in owner.labels
    shown = task_run.end_time if _returned(task_run) else task_run.start_time if marked else None
    return shown is not None and not ledger.remembers(span.nanoseconds(shown))


def _mark_told(client: SyncPrefectClient, owner: FlowRun, task_run_ids: list[UUID]) -> None:
    """Let others, who cannot ask this process's ledger, know what is told here."""
    if task_run_ids:
        marks = labels.told(task_run_ids, ledger_id())
        client.update_flow_run_labels(owner.id, marks)
        owner.labels.update(marks)


def _ending_of(task_run: TaskRun, flow_state: State[Any]) -> span.Ending:
    state = task_run.state
    if state is not None and (state.is_completed() or state.is_failed() or state.is_cancelled()):
        return span.ending_of(state)
    at = span.nanoseconds(flow_state.timestamp)
    if state is not None and state.is_crashed():  # its process lived to see it interrupted
        return span.cancelled(span.nanoseconds(state.timestamp))
    if flow_state.is_cancelling() or flow_state.is_cancelled():
        return span.cancelled(at)
    return span.crashed(at, flow_state.message)


def _tell(task_run: TaskRun, flow_run: FlowRun, ending: span.Ending) -> None:
    told = span.start(task_run, flow_run)
    learnt = labels.read_learnt(task_run.labels)
    for retry in learnt.retries:
        span.retrying(told, retry)
    for key, value in learnt.attributes.items():
        told.set_attribute(key, value)
    # A run that is being cancelled goes on until its process is killed, and may be tried again.
    at = max([ending.at, *(retry.at for retry in learnt.retries)])
    span.end(told, task_run, ending._replace(at=at))
    hooks.told.append(task_run.id)
    task = _tasks.get(task_run.task_key)
    if ending.status == "Cancelled" and task is not None:
        hooks.call_cancellation_hooks(task, task_run)
