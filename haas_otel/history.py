"""What a flow run's history says: for what it waited, the attempt before, why it never began.

Prefect's server is asked once, when an attempt begins; the answer travels on the labels of task
runs, so that whoever ends a span says the same. Each wait is on one span only, that of the task
run that followed it: over all spans of a run they add up to its history. What ended without having
begun leaves no span, and is counted instead.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from anyio import to_thread

from haas_otel import records, server
from haas_otel.span import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from haas_otel.server import Server

WAIT = "prefect.wait."  # with a reason and "_ms", attributes of spans
# How the messages begin that Prefect has for these.
_REFUSED = "Validation of flow parameters failed"
_LIMIT = "Deployment concurrency limit reached"
_BY_NAME = {"AwaitingConcurrencySlot": "concurrency_slot", "AwaitingRetry": "retry"}
# Loads what sends a count, of a flow's name and a reason, and says whether it was taken.
load_send: Callable[[], Callable[[str, str], bool]] = lambda: lambda _name, _reason: False  # noqa: E731
_TaskRuns = defaultdict[str, list["UUID"]]  # by their tasks' keys, in order


@dataclass(slots=True)
class _History:
    """Of an attempt: waits not yet told in ms, task runs of the attempt before and of this one."""

    attempts: int  # before this one
    waited_until: int = 0
    waits: dict[str, float] = field(default_factory=dict)
    before: _TaskRuns = field(default_factory=lambda: defaultdict(list))
    begun: _TaskRuns = field(default_factory=lambda: defaultdict(list))


_of: dict[UUID | None, _History] = {}


def begin(flow_run: FlowRun) -> Coroutine[Any, Any, None] | None:
    """Note that an attempt begins; return what asks for its history, where it has one."""
    attempts = flow_run.run_count
    known = _of.setdefault(flow_run.id, _History(attempts))
    if known.attempts != attempts:  # else it goes on after a pause
        known.attempts, known.before, known.begun = attempts, known.begun, defaultdict(list)
    if not attempts and flow_run.deployment_id is None:  # it has waited for nobody
        return None
    return to_thread.run_sync(server.within_bound, partial(_ask, flow_run.id, known))


def end(flow_run_id: UUID) -> None:
    """Forget a flow run."""
    _of.pop(flow_run_id, None)


def note(task_run: TaskRun) -> None:
    """Put on the labels of a task run, before it is Running, what the history says of it."""
    if (known := _of.get(task_run.flow_run_id)) is None:
        return
    said: dict[str, Any] = {}
    if waits := known.waits:
        known.waits = {}
        said["prefect.wait_ms"] = sum(waits.values())
        said |= {f"{WAIT}{reason}_ms": each for reason, each in waits.items()}
    begun = known.begun[task_run.task_key]
    if known.before and len(before := known.before[task_run.task_key]) > len(begun):
        said[records.BEFORE] = str(before[len(begun)])
    begun.append(task_run.id)
    if said:
        task_run.labels[records.HISTORY] = json.dumps(said)


class Wait(NamedTuple):
    """For what a run waited; ``since`` and ``until`` in ns since the epoch.

    ``schedule``: it was due, and nobody took it; ``worker``: one had taken it, and had not begun.
    """

    reason: str
    since: int
    until: int


def waits_of(states: Iterable[State], now: int) -> list[Wait]:
    """Return the waits of a run in order, from when it was due; ``now`` ends one that goes on."""
    history = sorted(states, key=lambda state: state.timestamp)
    due = history[0].state_details.scheduled_time if history else None
    earliest = nanoseconds(due) if due else 0
    ends = [*(nanoseconds(state.timestamp) for state in history[1:]), now]
    waits: list[Wait] = []
    for state, until in zip(history, ends, strict=False):
        reason = _BY_NAME.get(state.name or "")
        if reason is None and (state.is_scheduled() or state.is_pending()):
            reason = "worker" if state.is_pending() else "schedule"
        since = max(earliest, nanoseconds(state.timestamp))
        if state.is_scheduled() and not waits:
            since = earliest or since
        if reason is None or until <= since:
            continue
        if waits and waits[-1].reason == reason and waits[-1].until == since:
            since = waits.pop().since
        waits.append(Wait(reason, since, until))
    return waits


Reason = Literal["refused_parameters", "cancelled", "limit_reached", "crashed"]


def count_never_began(
    asked: Server, flow_runs: Iterable[FlowRun], elsewhere: Collection[str] = ()
) -> None:
    """Count those of these flow runs that never began, and mark them as counted.

    ``elsewhere`` are the keys of records: others are at it.
    """
    send = None
    for flow_run in flow_runs:
        reason = _uncounted(flow_run)
        if reason is None or records.COUNT(flow_run.id) in elsewhere:
            continue
        send = send or load_send()
        if not send(asked.flow_name(flow_run), reason):
            return
        mark_counted(asked, flow_run)


def mark_counted(asked: Server, flow_run: FlowRun) -> Literal[True]:
    """Mark a flow run as counted, for others."""
    asked.mark(flow_run.id, {records.COUNTED: why_never_began(flow_run) or ""})
    return True


def count_own(flow_run_id: UUID) -> None:
    """Do so with a flow run of this process, which is about to end, in a few seconds at most.

    From when it may have been counted until that is marked, a record on the disk says so: whoever
    finds that of a dead process marks it, and does not count it a second time.
    """

    def read(asked: Server) -> tuple[FlowRun, str, str] | None:
        flow_run = asked.flow_run(flow_run_id)  # that at hand may be an older one
        reason = _uncounted(flow_run) if flow_run else None
        return (flow_run, asked.flow_name(flow_run), reason) if flow_run and reason else None

    if (found := server.within_bound(read)) is None:
        return
    flow_run, *counts = found
    send, disk, key = load_send(), records.disk(), records.COUNT(flow_run_id)
    if disk:
        disk.begin(key, records.of_flow(flow_run_id, time.time_ns()))
    taken = server.within_bound(lambda _: send(*counts), late=True)
    done = not taken or server.within_bound(lambda asked: mark_counted(asked, flow_run))
    if disk and done:
        disk.end(key)


def _uncounted(flow_run: FlowRun) -> Reason | None:
    return None if records.COUNTED in flow_run.labels else why_never_began(flow_run)


def why_never_began(flow_run: FlowRun) -> Reason | None:
    """Return why a flow run never began; None where it did, or may still."""
    state = flow_run.state
    # Not by its start time: the server gives one to whatever has ended.
    if state is None or not state.is_final() or state.is_completed() or flow_run.run_count:
        return None
    message = state.message or ""
    if state.is_cancelled():
        return "limit_reached" if message.startswith(_LIMIT) else "cancelled"
    return "refused_parameters" if message.startswith(_REFUSED) else "crashed"


def _ask(flow_run_id: UUID, known: _History, asked: Server) -> None:
    until, states = time.time_ns(), asked.states(flow_run_id)
    for wait in waits_of(states, until):
        if wait.until > known.waited_until:
            milliseconds = known.waits.get(wait.reason, 0.0) + (wait.until - wait.since) / 1e6
            known.waits[wait.reason] = milliseconds
    known.waited_until = until
    if not known.before and sum(state.is_running() for state in states) > 1:
        # Another process had the attempt before.
        runs = asked.task_runs(flow_run_id)
        last = max((run.flow_run_run_count for run in runs), default=0)
        for run in sorted(runs, key=lambda run: run.id.int):
            if run.flow_run_run_count == last:
                known.before[run.task_key].append(run.id)
