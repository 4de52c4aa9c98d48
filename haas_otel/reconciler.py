"""Reconciling: ending the spans of task runs whose process cannot do it any more.

Dead processes of this machine leave start records; machines that are gone leave a record at the
server that nobody brings up to date. For each the evidence is gathered, and the answer is acted
on: first marked at the server, so that no other machine does the same, then told.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from anyio import CancelScope
from opentelemetry import trace
from prefect.logging.loggers import task_run_logger
from prefect.states import Cancelled
from prefect.utilities.asyncutils import run_coro_as_sync

from haas_otel import decision, history, records, server, span
from haas_otel.decision import AlreadyEnded, End, Evidence, NotYet, Suspicion, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.tasks import Task

    from haas_otel.decision import Decision
    from haas_otel.records import Disk, Process, Record, Run
    from haas_otel.server import Server

_logger = logging.getLogger(__name__)
_tasks: WeakValueDictionary[str, Task[..., Any]] = WeakValueDictionary()
# Held while hooks of users are called, which take the time they need.
_calling = threading.Lock()
_HOOK_FAILED = "An error was encountered while running hook %r"
_HOOK_FINISHED = "Hook %r finished running successfully"
# So long the hooks of a run wait for a process that knows its task.
_DAY = 86_400 * decision.SECOND


@dataclass(slots=True)
class Reconciled:
    """What a pass did: flow runs it stopped, task runs whose spans it ended, flow runs suspected.

    ``look_again`` is in how many seconds, a minute at most, another pass can say more; 0 if none
    can soon.
    """

    flow_runs: list[UUID] = field(default_factory=list)
    task_runs: list[UUID] = field(default_factory=list)
    suspected: list[UUID] = field(default_factory=list)
    look_again: float = 0.0


def reconcile(*, lookback: timedelta = timedelta(days=7), tags: Collection[str] = ()) -> Reconciled:
    """End the spans of all runs that nobody is left to end, here and on machines that are gone.

    Args:
        lookback: how long ago a task run may have begun to be looked at.
        tags: flow runs with one of these are set Crashed, or Cancelled, when their machine is
            gone, even if no task of theirs has begun, and counted when they ended without having
            begun.

    Idempotent, and cheap when there is nothing to do. A machine that has been silent is only
    suspected by the first pass; one at least a minute later ends what it left.
    """
    if not span.enabled():
        return Reconciled()
    with server.connected() as connected:
        pass_ = Pass(connected, records.disk())
        pass_.settle_machine()
        pass_.settle_gone(lookback, tags)
        badly = connected.ended(lookback, tags, server.BADLY) if tags else ()
        history.count_never_began(connected, badly, pass_.open_here())
    return pass_.result


def settle_here() -> None:
    """Settle what dead processes of this machine left, if there are any and the server answers."""
    disk = records.disk()
    if disk is not None and any(True for _ in disk.dead()):
        try:
            with server.connected() as connected:
                Pass(connected, disk).settle_machine()
        except Exception as error:  # noqa: BLE001 - a server that does not answer ends nothing
            _logger.debug("what processes left that died is not settled yet: %s", error)


def settle_stopped(flow_run_id: UUID, state: State[Any]) -> None:
    """Settle a flow run whose process has just ended, from a hook: for a moment at most.

    ``state`` is what the hook is called with: the server may not have it yet.
    """
    disk = records.disk()

    def is_left() -> bool:
        found = disk.dead() if disk else ()
        return any(r.root_id == flow_run_id for process in found for r in process.records)

    def attempt(connected: Server) -> None:
        # Another process may have it in hand; a server that is busy may refuse at first.
        until = time.monotonic() + decision.GRACE / decision.SECOND
        while is_left() and time.monotonic() < until:
            with contextlib.suppress(Exception):
                if Pass(connected, disk).settle_machine(flow_run_id, state):
                    return
            time.sleep(0.1)

    if is_left():
        server.within_bound(attempt)
        with _calling:  # the process may end after this
            pass


def end_span(run: Run, learnt: records.Learnt, ending: span.Ending) -> None:
    """Make and end the span of a task run of another process."""
    started = span.start(run)
    for retry in learnt.retries:
        span.retrying(started, retry)
    left_out = {"haas_otel.left_out": learnt.left_out} if learnt.left_out else {}
    started.set_attributes({**learnt.attributes, **left_out})
    span.end(started, run, ending, learnt.retries)
    if ending.status != "Completed":  # its own process logged nothing of it
        level = logging.ERROR if ending.status == "Failed" else logging.WARNING
        # As Prefect has them on its log lines.
        runs = {"task_run_id": run.task_run_id, "flow_run_id": run.flow_run_id}
        extra = {name: str(run_id) for name, run_id in runs.items() if run_id}
        with trace.use_span(started):
            told = (run.attributes["task.name"], ending.status, ending.message)
            _logger.log(level, "%s ended as %s: %s", *told, extra=extra)


def remember(task: Task[..., Any]) -> None:
    """Remember a task, so that a process which only imported it can call its hooks."""
    _tasks[task.task_key] = task


def cancellation_hooks(task: Task[..., Any]) -> Collection[Callable[..., Any]]:
    """Return the task's ``on_cancellation`` hooks; one of Prefect's own has none."""
    return getattr(task, "on_cancellation_hooks", ())


def call_cancellation_hooks(
    task: Task[..., Any], task_run: TaskRun
) -> Coroutine[Any, Any, None] | None:
    """Call the task's ``on_cancellation`` hooks as Prefect calls its own: logged, never raising.

    Those that are coroutines are left, for who has the loop to wait for.
    """
    left: list[tuple[str, Coroutine[Any, Any, Any]]] = []
    state: State[Any] = Cancelled(message=span.CANCELLED_MESSAGE)
    logger = task_run_logger(task_run=task_run, task=task)
    for hook in cancellation_hooks(task):
        name = getattr(hook, "__name__", type(hook).__name__)
        logger.info("Running hook %r in response to entering state %r", name, state.name)
        try:
            result = hook(task, task_run, state)
        except Exception:
            logger.exception(_HOOK_FAILED, name)
        else:
            if inspect.iscoroutine(result):
                left.append((name, result))
            else:
                logger.info(_HOOK_FINISHED, name)

    async def await_left() -> None:
        with CancelScope(shield=True):
            for name, result in left:
                try:
                    await result
                except Exception:
                    logger.exception(_HOOK_FAILED, name)
                else:
                    logger.info(_HOOK_FINISHED, name)

    return await_left() if left else None


class Pass:
    """One look at what is left, and what it did: ``result``.

    ``asked`` and ``disk`` give the evidence, ``end`` ends a span, ``now`` is in ns since the epoch.
    """

    def __init__(
        self,
        asked: Server,
        disk: Disk | None,
        *,
        end: Callable[[Run, records.Learnt, span.Ending], None] = end_span,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.result = Reconciled()
        self._asked = asked
        self._disk = disk
        self._machine = disk.machine if disk else None
        self._end = end
        self._now = now

    def settle_machine(self, stopped: UUID | None = None, state: State[Any] | None = None) -> bool:
        """Settle what dead processes of this machine left, and say whether there was anything.

        With ``stopped`` only that flow run, whose process has just ended: its hook asks, with the
        ``state`` that it was called with.
        """
        if self._disk is None:
            return False
        living = {record.key for record in self._disk.living()}
        found = False
        for process in self._disk.dead():
            mine = [
                record
                for record in process.records
                if record.api == records.api() and stopped in (None, record.root_id)
            ]
            found = found or bool(mine)
            settled = True
            # A flow run is stopped after its spans are told: they say how it was until then.
            for record in sorted(mine, key=lambda record: record.run is None):
                held = records.HELD(record.root_id) in living
                if record.run is None:
                    done = settled and self._stop_left(process, record, living, held=held)
                else:
                    evidence = self._of_the_dead(process, record, record.run, state)
                    evidence = evidence._replace(held=held)
                    answer = self._act(evidence, record.run, record.learnt)
                    done = isinstance(answer, End | AlreadyEnded)
                    settled = settled and done
                    if done and self._owes_hooks(record, evidence):
                        process.leave_hooks(record)  # first: whatever comes now, the span is told
                        is_late = abs(self._now() - evidence.last_sign) >= _DAY
                        done = self._call_hooks(record.run) or is_late
                if done:
                    process.close(record)
        return found

    def _of_the_dead(
        self, process: Process, record: Record, run: Run, told: State[Any] | None
    ) -> Evidence:
        """Gather what is known of a task run whose process has died on this machine."""
        hook = told is not None
        dead = Evidence(now=self._now(), process="dead", last_sign=process.last_sign, hook=hook)
        dead = dead._replace(written=record.told or self._has(run))
        if dead.written and not record.hooks:
            return dead
        task_run = self._asked.task_run(run.task_run_id)
        return dead._replace(
            reported=_reported(task_run) if task_run else None,
            flow=self._asked.flow_end(run.root_id, run.start, told),
            spoken_for=records.is_spoken_for(
                self._asked.flow_run(run.flow_run_id), run.task_run_id, self._machine
            ),
        )

    @staticmethod
    def _owes_hooks(record: Record, evidence: Evidence) -> bool:
        """Say whether the hooks of a run are to be called: it has some, and was cancelled.

        Its span may have been ended by a process that did not know the task, or died before it had
        called them.
        """
        flow = evidence.flow
        was_cancelled = flow is not None and flow.how == "Cancelled" and not evidence.reported
        return record.hooks and was_cancelled and not evidence.spoken_for

    def _call_hooks(self, run: Run) -> bool:
        """Call the cancellation hooks of a task, and say whether this process knows it."""
        task = _tasks.get(run.task_key)
        if task is not None and (task_run := self._asked.task_run(run.task_run_id)):
            with _calling:
                if left := call_cancellation_hooks(task, task_run):
                    run_coro_as_sync(left)
        return task is not None

    def _stop_left(self, process: Process, record: Record, living: set[str], *, held: bool) -> bool:
        """Stop the flow run of a dead process, and return whether nothing is left to do."""
        last_sign, flow_run = process.last_sign, self._asked.flow_run(record.flow_run_id)
        if flow_run is None or flow_run.state is None:
            return True
        if record.key == records.COUNT(flow_run.id):
            return history.mark_counted(self._asked, flow_run)
        is_just_now = decision.is_just_now(last_sign, self._now())
        if not flow_run.state.is_final() and (held or is_just_now):
            # Its worker may do it; of a worker's runs, one may just have begun.
            self._look_again((self._now() if held else last_sign) + decision.GRACE)
            return False
        self._mark_written(flow_run)
        # What is Running outlives its worker, or has left a record of its own.
        outlives = record.root_id is None and flow_run.state.is_running()
        if outlives or records.FLOW(flow_run.id) in living:
            return True
        end = self._asked.flow_end(flow_run.id, record.start)
        retried = bool(end and end.next_attempt is not None)
        changed = span.nanoseconds(flow_run.state.timestamp)
        if decision.is_left(flow_run.state.type, changed, last_sign, retried=retried):
            outermost = self._asked.flow_end(record.root_id, record.start)
            self._stop(flow_run, last_sign, outermost)
        return True

    def _mark_written(self, flow_run: FlowRun) -> None:
        """Mark the spans that a process has ended here and could not report before it died."""
        written = [
            task_run.id
            for task_run in self._asked.task_runs(flow_run.id)
            if records.ENDED not in task_run.labels
            and not _reported(task_run)
            and self._has(span.run_of(task_run, flow_run))
        ]
        if written:
            self._asked.mark(flow_run.id, records.spoken_for(written, self._machine))

    def open_here(self) -> dict[str, Record]:
        """Return the records that this machine's processes have open, by their keys."""
        disk = self._disk
        found = [*disk.living(), *disk.lost()] if disk else ()
        return {record.key: record for record in found}

    def settle_gone(self, lookback: timedelta, tags: Collection[str] = ()) -> None:
        """Settle what machines left that are gone, by the server's records alone."""
        here = {record.root_id or record.flow_run_id for record in self.open_here().values()}
        unasked = Evidence(now=self._now(), known=False)
        flow_runs = {each.id: each for each in self._asked.open_flow_runs()}
        roots = {
            each.id: each
            for each in flow_runs.values()
            if each.parent_task_run_id is None or each.deployment_id is not None
        }
        left: dict[UUID, list[tuple[TaskRun, FlowRun]]] = defaultdict(list)
        for task_run in self._asked.unreported(lookback):
            of = task_run.flow_run_id
            owner = (flow_runs.get(of) if of else None) or self._asked.flow_run(of)
            if owner is None:
                continue
            flow_runs[owner.id] = owner
            if not isinstance(decide(self._by_record(task_run, owner, unasked)), AlreadyEnded):
                root = self._asked.outermost(owner)
                roots[root.id] = root
                left[root.id].append((task_run, owner))
        for root in roots.values():
            if root.id not in here:
                self._settle_flow_run(root, left[root.id], set(tags))

    def _settle_flow_run(
        self, root: FlowRun, left: list[tuple[TaskRun, FlowRun]], tags: set[str]
    ) -> None:
        """Settle a flow run whose process is none of this machine's, and those nested in it."""
        ours = left or tags & set(root.tags) or self._asked.task_runs(root.id)
        if not ours or root.state is None:
            return
        sign, heartbeat = self._asked.last_sign(root)
        known = Evidence(
            now=self._now(),
            last_sign=sign,
            heartbeat=heartbeat,
            suspected=_suspicion(root.labels.get(records.SUSPECTED)),
            silence=decision.silence(),
            may_be_unheard=not heartbeat and not self._asked.sends_heartbeats(root),
        )
        answers: list[Decision] = []
        for task_run, owner in left:
            run = span.run_of(task_run, owner)
            evidence = self._by_record(task_run, owner, known)._replace(
                # At its start its process lived, though it may send no heartbeats.
                last_sign=max(sign, run.start),
                flow=self._asked.flow_end(root.id, run.start),
            )
            sign = max(sign, run.start)
            learnt = records.Learnt.from_json(task_run.labels.get(records.LEARNT))
            answers.append(self._act(evidence, run, learnt))
            if isinstance(answers[-1], End) and answers[-1].ending.status == "Cancelled":
                self._call_hooks(run)
        # It may have died between its tasks, or who ended their spans before this was done.
        if not root.state.is_final() and all(isinstance(a, End | AlreadyEnded) for a in answers):
            # Pending, it has no process yet that could send any; Cancelling, it is to have none.
            unheard = known.may_be_unheard and root.state.is_running()
            evidence = known._replace(may_be_unheard=unheard)
            answers.append(self._act(evidence))
            if isinstance(answers[-1], End):
                self._stop(root, known.last_sign)
        if any(isinstance(answer, NotYet) and answer.suspect for answer in answers):
            suspicion = Suspicion(known.now, sign, heartbeat)
            self._asked.mark(root.id, {records.SUSPECTED: " ".join(map(str, suspicion))})
            self.result.suspected.append(root.id)

    def _by_record(self, task_run: TaskRun, owner: FlowRun, known: Evidence) -> Evidence:
        """Add what the record of a task run says, and this machine, to what is known."""
        return known._replace(
            spoken_for=records.is_spoken_for(owner, task_run.id, self._machine),
            written=self._has(span.run_of(task_run, owner)),
            process="lives" if task_run.id in span.live else None,
            reported=_reported(task_run),
            ended_there=records.ENDED in task_run.labels,
        )

    def _act(
        self,
        evidence: Evidence,
        run: Run | None = None,
        learnt: records.Learnt = records.Learnt(),  # noqa: B008 - immutable
    ) -> Decision:
        """Do what follows from the evidence, and return it."""
        answer = decide(evidence)
        if isinstance(answer, End) and run is not None:
            if evidence.process and run.root_id is None:
                self._asked.crash_alone(run.task_run_id, decision.reason(answer.ending.at))
            else:
                mark = records.spoken_for([run.task_run_id], self._machine)
                self._asked.mark(run.flow_run_id, mark)
            self._end(run, learnt, answer.ending)
            self.result.task_runs.append(run.task_run_id)
        if isinstance(answer, NotYet):
            self._look_again(answer.until)
        return answer

    def _look_again(self, moment: int) -> None:
        wait = max(0.1, (moment - self._now()) / decision.SECOND)
        if wait <= 2 * decision.HEARTBEAT / decision.SECOND:
            self.result.look_again = max(self.result.look_again, wait)

    def _stop(
        self, flow_run: FlowRun, last_sign: int, outermost: decision.FlowEnd | None = None
    ) -> None:
        if self._asked.stop(flow_run, decision.reason(last_sign), outermost):
            self.result.flow_runs.append(flow_run.id)

    def _has(self, run: Run) -> bool:
        return self._disk is not None and self._disk.has(run.trace_id, run.span_id)


def _reported(task_run: TaskRun) -> span.Ending | None:
    """Return the end that a task run's own process gave it: anybody can cancel or crash one."""
    state = task_run.state
    if state is None or not (state.is_completed() or state.is_failed()):
        return None
    return span.ending_of(state)


def _suspicion(label: object) -> Suspicion | None:
    parts = str(label).split()
    return Suspicion(*map(int, parts)) if len(parts) == 3 and "".join(parts).isdigit() else None
