"""Reconciling: ending the spans of task runs whose process cannot do it any more.

Dead processes of this machine leave start records; machines that are gone leave a record at the
server that nobody brings up to date. For each the evidence is gathered, and the answer is acted
on: first marked at the server, so that no other machine does the same, then told.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from haas_otel import decision, hooks, labels, records, server, span
from haas_otel.decision import AlreadyEnded, End, Evidence, NotYet, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, TaskRun
    from prefect.tasks import Task

    from haas_otel.decision import Decision, FlowEnd
    from haas_otel.records import Disk, Process, Record
    from haas_otel.server import Server

    EndSpan = Callable[[span.Run, labels.Learnt, span.Ending], None]
    Clock = Callable[[], int]

WORKER_NAME = "prefect.worker.name"  # Prefect's own label, by the worker that took a run
_logger = logging.getLogger(__name__)
_tasks: WeakValueDictionary[str, Task[..., Any]] = WeakValueDictionary()


@dataclass(slots=True)
class Reconciled:
    """What a pass did: flow runs settled, task runs whose spans it ended, flow runs suspected.

    ``look_again`` is in how many seconds, a minute at most, another pass can say more; 0 if none
    can soon.
    """

    flow_runs: list[UUID] = field(default_factory=list)
    task_runs: list[UUID] = field(default_factory=list)
    suspected: list[UUID] = field(default_factory=list)
    look_again: float = 0.0

    def note(self, answer: Decision, now: int) -> None:
        """Note what cannot be said yet."""
        if isinstance(answer, NotYet):
            seconds = max(0.1, (answer.until - now) / decision.SECOND)
            if seconds <= 2 * decision.HEARTBEAT / decision.SECOND:
                self.look_again = max(self.look_again, seconds)


def remember(task: Task[..., Any]) -> None:
    """Remember a task, so that a process which only imported it can call its hooks."""
    _tasks[task.task_key] = task


def reconcile(*, lookback: timedelta = timedelta(days=7), tags: Collection[str] = ()) -> Reconciled:
    """End the spans of all runs that nobody is left to end, here and on machines that are gone.

    Args:
        lookback: how long ago a flow run may have ended to be looked at.
        tags: flow runs with one of these are set Crashed, or Cancelled, when their machine is
            gone, even if no task of theirs has begun.

    Idempotent, and cheap when there is nothing to do. A machine that has been silent is only
    suspected by the first pass; one at least a minute later ends what it left.
    """
    result = Reconciled()
    if not span.enabled():
        return result
    with server.connected() as connected:
        disk = records.disk()
        if disk is not None:
            settle_machine(connected, disk, result)
        settle_gone(connected, disk, result, lookback=lookback, tags=tags)
    return result


def settle_here(disk: Disk | None = None) -> Reconciled:
    """Settle what dead processes of this machine left, if there are any and the server answers."""
    result = Reconciled()
    disk = disk or records.disk()
    if disk is None or not any(True for _ in disk.dead()):
        return result
    try:
        with server.connected() as connected:
            settle_machine(connected, disk, result)
    except Exception as error:  # noqa: BLE001 - a server that does not answer ends nothing
        _logger.debug("what processes left that died is not settled yet: %s", error)
    return result


def settle_stopped(flow_run_id: UUID) -> None:
    """Settle a flow run whose process has just ended, from a hook: for a moment at most."""
    disk = records.disk()

    def is_left() -> bool:
        found = disk.dead() if disk else ()
        return any(r.root_id == flow_run_id for process in found for r in process.records)

    def attempt() -> None:
        assert disk is not None  # noqa: S101 - something is left on it
        with server.connected() as connected:
            # Another process may have it in hand.
            while is_left() and not settle_machine(
                connected, disk, Reconciled(), root_id=flow_run_id
            ):
                time.sleep(0.1)

    if is_left():
        server.within_bound(attempt)


def end_span(run: span.Run, learnt: labels.Learnt, ending: span.Ending) -> None:
    """Make and end the span of a task run of another process, and call its cancellation hooks."""
    started = span.start(run)
    for retry in learnt.retries:
        span.retrying(started, retry)
        ending = ending._replace(at=max(ending.at, retry.at))
    for key, value in learnt.attributes.items():
        started.set_attribute(key, value)
    if learnt.left_out:
        started.set_attribute("haas_otel.left_out", learnt.left_out)
    span.end(started, run, ending)
    task = _tasks.get(run.task_key)
    if ending.status == "Cancelled" and task is not None:
        with contextlib.suppress(Exception):
            _call_hooks(task, run)


def settle_machine(
    asked: Server,
    disk: Disk,
    result: Reconciled,
    *,
    root_id: UUID | None = None,
    end: EndSpan = end_span,
    now: Clock = time.time_ns,
) -> bool:
    """Settle what dead processes of this machine left, and say whether there was anything.

    Args:
        asked: the server, for its part of the evidence.
        disk: this machine's.
        result: takes what is done.
        root_id: only this flow run, which has just been stopped: it is its hook that asks.
        end: ends a span.
        now: returns the time in ns since the epoch.
    """
    living = {record.key for process in disk.living() for record in process.records}
    found = False
    for process in disk.dead():
        mine = [
            record
            for record in process.records
            if record.api == records.api() and root_id in (None, record.root_id)
        ]
        found = found or bool(mine)
        left = {record.key for record in mine if record.run is not None}
        for record in mine:
            if record.run is not None:
                answer = decide(
                    _of_the_dead(asked, disk, process, record, hook=bool(root_id), now=now())
                )
                result.note(answer, now())
                if isinstance(answer, End):
                    if record.run.flow_run_id is not None:
                        mark = labels.spoken_for([record.run.task_run_id], disk.machine)
                        asked.mark(record.run.flow_run_id, mark)
                    end(record.run, record.learnt, answer.ending)
                    result.task_runs.append(record.run.task_run_id)
                if isinstance(answer, End | AlreadyEnded):
                    process.close(record)
                    left.discard(record.key)
        for record in mine:
            # A flow run is stopped after its spans are told: they say how it was until then.
            if record.run is None and not left:
                _stop_left(asked, disk, process, record, living, result, now())
    return found


def settle_gone(
    asked: Server,
    disk: Disk | None,
    result: Reconciled,
    *,
    lookback: timedelta,
    tags: Collection[str],
    end: EndSpan = end_span,
    now: Clock = time.time_ns,
) -> None:
    """Settle what machines left that are gone, by the server's records alone."""
    here: set[UUID | None] = set()
    if disk is not None:
        processes = [*disk.living(), *disk.dead()]
        here = {r.root_id for process in processes for r in process.records}
    ended = [*asked.ended_flow_runs(lookback), *asked.retried_flow_runs(lookback)]
    for flow_run in [*asked.open_flow_runs(), *ended]:
        settled = labels.is_settled(flow_run.labels, flow_run.run_count)
        if flow_run.id not in here and not settled and flow_run.state is not None:
            _Gone(asked, disk, flow_run, result, end, now).settle(set(tags))


class _Gone:
    """A flow run whose processes are none of this machine's."""

    def __init__(
        self,
        asked: Server,
        disk: Disk | None,
        flow_run: FlowRun,
        result: Reconciled,
        end: EndSpan,
        now: Clock,
    ) -> None:
        self._asked = asked
        self._disk = disk
        self._flow_run = flow_run
        self._result = result
        self._end = end
        self._now = now
        self._sign: tuple[int, int] | None = None

    def settle(self, tags: set[str]) -> None:
        flow_run, state = self._flow_run, self._flow_run.state
        assert state is not None  # noqa: S101 - a flow run without one is left out
        if flow_run.parent_task_run_id is not None and flow_run.deployment_id is None:
            return  # settled with the outermost
        found = [
            (owner, task_run)
            for owner in self._asked.nested(flow_run)
            for task_run in self._asked.task_runs(owner)
        ]
        ours = bool(found) or bool(tags & set(flow_run.tags))
        answers: list[tuple[FlowRun, TaskRun | None, Decision]] = [
            (owner, task_run, self._decide(owner, task_run)) for owner, task_run in found
        ]
        # It may have died between its tasks, or who ended their spans before this was done.
        ended = all(isinstance(answer, AlreadyEnded) for *_, answer in answers)
        if not state.is_final() and ours and ended:
            answers.append((flow_run, None, self._decide(flow_run, None)))
        for *_, answer in answers:
            self._result.note(answer, self._now())
        if any(isinstance(answer, NotYet) and answer.suspect for *_, answer in answers):
            began = [span.nanoseconds(task_run.start_time) for _, task_run in found]
            sign, heartbeat = self._last_sign
            suspicion = decision.Suspicion(self._now(), max(sign, *began, 0), heartbeat)
            self._asked.mark(flow_run.id, {labels.SUSPECTED: suspicion.to_label()})
            self._result.suspected.append(flow_run.id)
        ends = [(o, t, a.ending) for o, t, a in answers if isinstance(a, End)]
        for owner, task_run, ending in ends:
            if task_run is not None:
                mark = labels.spoken_for([task_run.id], self._machine)
                self._asked.mark(owner.id, mark)
                learnt = labels.read_learnt(task_run.labels)
                self._end(span.run_of(task_run, owner), learnt, ending)
                self._result.task_runs.append(task_run.id)
        if any(not isinstance(answer, End | AlreadyEnded) for *_, answer in answers):
            return
        if not state.is_final():
            if ends and self._asked.stop(flow_run, decision.reason(self._last_sign[0])):
                self._result.flow_runs.append(flow_run.id)
        # While it gives signs, more of it may begin; and records of what has may be late.
        elif self._now() - self._last_sign[0] >= decision.silence():
            self._asked.mark(flow_run.id, labels.settled(flow_run.run_count))
            self._result.flow_runs.append(flow_run.id)

    @property
    def _machine(self) -> str | None:
        return self._disk.machine if self._disk else None

    @property
    def _last_sign(self) -> tuple[int, int]:
        if self._sign is None:
            self._sign = self._asked.last_sign(self._flow_run)
        return self._sign

    def _decide(self, owner: FlowRun, task_run: TaskRun | None) -> Decision:
        suspected = self._flow_run.labels.get(labels.SUSPECTED)
        flow, reported, here, spoken_for = None, None, False, None
        ended_there = written = False
        began = 0
        if task_run is not None:
            reported = _reported(task_run)
            ended_there = labels.ENDED in task_run.labels
            here = task_run.id in hooks.live
            spoken_for = labels.spoken_for_by(owner.labels, task_run.id)
            run = span.run_of(task_run, owner)
            written = self._disk is not None and self._disk.has(run.trace_id, run.span_id)
            if ended_there or reported or here or written:
                return decide(
                    Evidence(
                        now=self._now(),
                        written=written,
                        process="lives" if here else None,
                        reported=reported,
                        ended_there=ended_there,
                    )
                )
            flow, began = self._asked.flow_end(self._flow_run.id, run.start), run.start
        sign, heartbeat = self._last_sign
        state = self._flow_run.state
        return decide(
            Evidence(
                now=self._now(),
                spoken_for=spoken_for not in (None, self._machine),
                # At its start its process lived, though it may send no heartbeats.
                last_sign=max(sign, began),
                flow=flow,
                heartbeat=heartbeat,
                # Pending, it has no process yet that could send any; Cancelling, it is to have
                # none.
                may_be_unheard=task_run is not None or state is None or state.is_running(),
                suspected=decision.Suspicion.from_label(suspected),
                silence=decision.silence(),
            )
        )


def _of_the_dead(
    asked: Server, disk: Disk, process: Process, record: Record, *, hook: bool, now: int
) -> Evidence:
    """Gather what is known of a task run whose process has died on this machine."""
    run = record.run
    assert run is not None  # noqa: S101 - it is a task run's record
    flow: FlowEnd | None = None
    spoken_for = reported = None
    if not (written := disk.has(run.trace_id, run.span_id)):
        task_run = asked.task_run(run.task_run_id)
        reported = _reported(task_run) if task_run else None
        if run.flow_run_id is not None and run.root_id is not None:
            flow = asked.flow_end(run.root_id, run.start)
            owner = asked.flow_run(run.flow_run_id)
            if owner is not None:
                spoken_for = labels.spoken_for_by(owner.labels, run.task_run_id)
    return Evidence(
        now=now,
        written=written,
        process="dead",
        last_sign=process.last_sign,
        hook=hook,
        reported=reported,
        flow=flow,
        spoken_for=spoken_for not in (None, disk.machine),
    )


def _stop_left(
    asked: Server,
    disk: Disk,
    process: Process,
    record: Record,
    living: set[str],
    result: Reconciled,
    now: int,
) -> None:
    """Stop what a dead process left at the server: its flow run, or those of its worker."""
    if record.worker is not None:
        taken = [r for r in asked.open_flow_runs() if r.labels.get(WORKER_NAME) == record.worker]
        # Those that are Running outlive their worker, or have left a record of their own.
        left = [r for r in taken if r.state is not None and not r.state.is_running()]
    else:
        assert record.flow_run_id is not None  # noqa: S101 - it is a flow run's record
        found = asked.flow_run(record.flow_run_id)
        left = [found] if found else []
    if decision.is_just_now(process.last_sign, now) and any(map(_goes_on, left)):
        result.note(NotYet(process.last_sign + decision.GRACE), now)
        return  # its worker may do it; of a worker's runs, one may just have begun
    for flow_run in left:
        _mark_written(asked, disk, flow_run)
        state = flow_run.state
        if state is None or f"flow {flow_run.id}" in living:
            continue
        changed = span.nanoseconds(state.timestamp)
        retried = False  # a worker's name is on the attempts that it took
        if record.flow_run_id is not None:
            end = asked.flow_end(flow_run.id, record.start)
            retried = end is not None and end.next_attempt is not None
        if decision.is_left(state.type, changed, process.last_sign, retried=retried) and asked.stop(
            flow_run, decision.reason(process.last_sign)
        ):
            result.flow_runs.append(flow_run.id)
    process.close(record)


def _goes_on(flow_run: FlowRun) -> bool:
    return flow_run.state is not None and not flow_run.state.is_final()


def _mark_written(asked: Server, disk: Disk, flow_run: FlowRun) -> None:
    """Mark the spans that a process has ended here and could not report before it died."""
    written = [
        task_run.id
        for task_run in asked.task_runs(flow_run)
        if not (_reported(task_run) or labels.ENDED in task_run.labels)
        and (run := span.run_of(task_run, flow_run))
        and disk.has(run.trace_id, run.span_id)
    ]
    if written:
        asked.mark(flow_run.id, labels.spoken_for(written, disk.machine))


def _reported(task_run: TaskRun) -> span.Ending | None:
    """Return the end that a task run's own process gave it: anybody can cancel or crash one."""
    state = task_run.state
    if state is None or not (state.is_completed() or state.is_failed()):
        return None
    return span.ending_of(state)


def _call_hooks(task: Task[..., Any], run: span.Run) -> None:
    with server.connected() as connected:
        if task_run := connected.task_run(run.task_run_id):
            hooks.call_cancellation_hooks(task, task_run)
