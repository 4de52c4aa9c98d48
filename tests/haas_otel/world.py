"""Two machines, a Prefect server, and what can happen to them, on a clock that a test moves.

Only what is around the core is simulated: the server behind Prefect's client, the disks, and the
processes that run tasks. What a story tells is one event a line, as in

    start A, task 0, freeze 0, wait 20m, sweep B, thaw 0, end 0

where 0 is the first process that was started.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Pending,
    Running,
)

from haas_otel import decision, records, span
from haas_otel.decision import SECOND, Evidence, decide
from haas_otel.delivery.codec import dump
from haas_otel.reconciler import Pass
from haas_otel.server import HEARTBEAT_FREQUENCY, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from haas_otel.span import Ending, Run

BEGIN = 1_900_000_000 * SECOND
MINUTE = 60 * SECOND
STEP = 30 * SECOND  # heartbeats
ROUNDS = 12
LOOKBACK = timedelta(days=7)
TAGS = ["ours"]
STATES: dict[str, Callable[..., State[Any]]] = {
    "cancel": Cancelling,
    "cancelled": Cancelled,
    "crashed": Crashed,
    "failed": Failed,
}
_FLOW = UUID(int=1)
_SENT = "prefect.flow-run.heartbeat"


class Away(Exception):
    """The server does not answer."""


class Killed(BaseException):
    """The process that reconciles is killed at this point."""


def moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // SECOND, UTC) + timedelta(microseconds=ns % SECOND // 1000)


class Client:
    """What `Server` uses of Prefect's client, with a server behind it that may be away."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.away = False
        self.flow_runs: dict[UUID, FlowRun] = {}
        self.runs_of_tasks: dict[UUID, TaskRun] = {}
        self.histories: dict[UUID, list[State[Any]]] = defaultdict(list)
        self.events: dict[tuple[UUID, str], int] = {}
        self.heard: dict[UUID, int] = defaultdict(int)  # when it had a sign of a flow run
        self.fault: tuple[str, int] | None = None
        self.stopping: Callable[[UUID, State[Any]], None] = lambda _, __: None

    def put(self, flow_run_id: UUID, state: State[Any]) -> None:
        """Put a flow run into a state."""
        state.timestamp = moment(self._now())
        run = self.flow_runs[flow_run_id]
        run.state, run.state_type = state, state.type
        run.end_time = state.timestamp if state.is_final() else None
        if state.is_running():
            run.run_count += 1
        self.histories[flow_run_id].append(state)
        self.heard_of(flow_run_id, f"prefect.flow-run.{state.name}", self._now())

    def heard_of(self, flow_run_id: UUID, event: str, occurred: int) -> None:
        self.events[flow_run_id, event] = occurred
        self.heard[flow_run_id] = self._now()

    def pass_on(self, after: bool = False) -> None:
        """Let the fault that is due happen, before or after a request or a span."""
        if self.fault is None:
            return
        kind, left = self.fault
        self.fault = (kind, left - 1)
        if left > 0 or (kind == "lose" and not after):
            return
        self.fault = None
        if kind == "kill":
            raise Killed
        self.away = kind == "away"
        raise Away

    @contextlib.contextmanager
    def _request(self) -> Iterator[None]:
        if self.away:
            raise Away
        self.pass_on()
        yield
        self.pass_on(after=True)

    # As Prefect's client has them.

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        with self._request():
            return _copy(self.flow_runs[flow_run_id])

    def read_task_run(self, task_run_id: UUID) -> TaskRun:
        with self._request():
            if task_run_id not in self.runs_of_tasks:
                raise ObjectNotFound(KeyError(task_run_id))
            return _copy(self.runs_of_tasks[task_run_id])

    def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        with self._request():
            return list(self.histories[flow_run_id])

    def read_flow_runs(self, *, flow_run_filter: Any, offset: int, **_: Any) -> list[FlowRun]:
        with self._request():
            found = list(self.flow_runs.values())
            if state := flow_run_filter.state:
                found = [run for run in found if run.state_type in state.type.any_]
            return [_copy(run) for run in found[offset:]]

    def read_task_runs(
        self, *, offset: int, flow_run_filter: Any = None, task_run_filter: Any = None, **_: Any
    ) -> list[TaskRun]:
        with self._request():
            found = list(self.runs_of_tasks.values())
            if flow_run_filter:
                found = [run for run in found if run.flow_run_id in flow_run_filter.id.any_]
            if task_run_filter:
                any_ = task_run_filter.state.type.any_
                found = [run for run in found if run.state and run.state.type in any_]
            return [_copy(run) for run in found[offset:]]

    def update_flow_run_labels(self, flow_run_id: UUID, marks: dict[str, Any]) -> None:
        with self._request():
            self.flow_runs[flow_run_id].labels.update(marks)

    def set_flow_run_state(self, flow_run_id: UUID, state: State[Any], *, force: bool) -> Any:
        with self._request():
            now = self.flow_runs[flow_run_id].state
            self.stopping(flow_run_id, state)
            if accepted := force or not (now and now.is_final()):
                self.put(flow_run_id, state)
            status = "ACCEPT" if accepted else "REJECT"
            return SimpleNamespace(status=SimpleNamespace(value=status))

    def request(self, method: str, path: str, *, json: dict[str, Any]) -> Any:
        with self._request():
            assert (method, path) == ("POST", "/events/filter")
            (of,) = json["filter"]["resource"]["id"]
            (name,) = json["filter"]["event"]["prefix"]
            found = sorted(
                ns
                for (run, event), ns in self.events.items()
                if of == f"prefect.flow-run.{run}" and event.startswith(name)
            )
            events = [{"occurred": moment(ns).isoformat()} for ns in reversed(found)]
            return SimpleNamespace(json=lambda: {"events": events[: json["limit"]]})


def _copy(run: Any) -> Any:
    copied = run.model_copy()
    copied.labels = dict(run.labels)
    return copied


@dataclass(eq=False)
class Task:
    """A task run, and what is true of it."""

    run: Run
    flow_run: FlowRun
    record: TaskRun  # as its process has it
    process: Worked
    open: bool = True
    statuses: set[str] = field(default_factory=set)  # that are true
    given_up: bool = False
    silenced: bool = False
    told: list[tuple[str, Ending]] = field(default_factory=list)

    @property
    def told_by_itself(self) -> bool:
        return any("itself" in by for by, _ in self.told)


@dataclass(eq=False)
class Worked:
    """A process that runs a flow run; or a worker, whose records are of those it has in hand."""

    machine: Machine
    root: UUID
    attempt: int
    heartbeats: bool
    stamp: int
    alive: bool = True
    frozen: bool = False
    slow: bool = False
    stopped: bool = False  # by its worker, for the system
    labelled: bool = False  # its flow run is, with that
    flow_run_ids: list[UUID] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    records: dict[str, bytes] = field(default_factory=dict)
    reports: list[Callable[[], None]] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.alive and not self.frozen

    def open(self) -> list[records.Record]:
        return [records.read(key, json.loads(text)) for key, text in self.records.items()]


class Machine:
    """A machine, which is its disk; see `haas_otel.records.Disk`."""

    def __init__(self, name: str) -> None:
        self.machine = name
        self.up = True
        self.killed = False  # the process of the pass that goes on
        self.behind = 0  # its clock, in ns
        self.processes: list[Worked] = []  # with workers
        self.worker: Worked | None = None  # that lives
        self.taken: list[tuple[UUID, bool]] = []  # by workers, and without a process yet
        self.spans: set[tuple[int, int]] = set()

    def has(self, trace_id: int, span_id: int) -> bool:
        return (trace_id, span_id) in self.spans

    def living(self) -> list[records.Record]:
        return [each for process in self.processes if process.alive for each in process.open()]

    def lost(self) -> list[records.Record]:
        return [each for process in self.processes if not process.alive for each in process.open()]

    def dead(self) -> Iterator[records.Process]:
        for process in self.processes:
            if process.alive or not process.records:
                continue
            closed: list[records.Record] = []
            try:
                yield records.Process(process.stamp, process.open(), closed.append, lambda _: None)
            finally:  # which does not come when this process is killed
                for record in [] if self.killed else closed:
                    process.records.pop(record.key, None)


class World:
    """Machines A and B with a worker each, and a server. ``tell`` an event, then ``quiet``."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.client = Client(lambda: self.now)
        self.client.stopping = self._stopping
        self.server = Server(self.client)  # type: ignore[arg-type]
        self.machines = {name: Machine(name) for name in "AB"}
        self.processes: list[Worked] = []
        self.tasks: list[Task] = []
        self.clocks_right = True
        self._ids = 1

    def tell(self, story: str) -> World:
        """Let events happen, by commas; those that cannot happen now do not."""
        for event in story.split(","):
            verb, *what = event.split()
            self._advance(SECOND)
            if verb in STATES:
                self._click(verb, what[0])
            else:
                getattr(self, f"_{verb.replace('-', '_')}")(*what)
        return self

    def quiet(self, first: str = "A") -> World:
        """Have all faults end, every process end by itself, and everybody look often enough.

        For an hour and more only the ``first`` machine looks at what others left.
        """
        self.client.fault = None
        self._back()
        if not any(machine.up for machine in self.machines.values()):
            self._on("B")
        for machine in self.machines.values():
            machine.behind = 0
        for name in self.machines:
            self._begin_taken(name)
        for number, process in enumerate(self.processes):
            process.frozen = False
            self._finish(str(number))
            if self._is_in_hand(process):
                self._notice(str(number))
        # Without heartbeats only somebody who ends a flow run can say that its machine is gone.
        for process in self.processes:
            state = self.client.flow_runs[process.root].state
            if not process.heartbeats and state is not None and not state.is_final():
                self.client.put(process.root, Crashed(message="by hand"))
        for round_ in range(2 * ROUNDS):
            for name in self.machines:
                if name == first or round_ >= ROUNDS:
                    self._pass(name)
            self._wait("9m")
        return self

    def check(self) -> None:
        """Every task run has its one true span, also when all machines are back."""
        self._check()
        for name in self.machines:
            self._on(name)
        self._wait("3m")
        for name in self.machines:
            self._sweep(name)
        self._check()

    def _check(self) -> None:
        for machine in self.machines.values():
            left = [process for process in machine.processes if process.records]
            assert not (machine.up and left), "a start record is left"
            for root, _ in machine.taken if machine.up and self.clocks_right else ():
                state = self.client.flow_runs[root].state
                assert state is None or not state.is_pending(), "a flow run that was taken is left"
        for process in self.processes:
            state = self.client.flow_runs[process.root].state
            newest = process.attempt == self.client.flow_runs[process.root].run_count
            known = any(t.run.task_run_id in self.client.runs_of_tasks for t in process.tasks)
            if newest and self.clocks_right and (process.machine.up or known):
                assert state is not None, "a flow run has a state"
                assert state.is_final(), "a flow run is left"
        for task in self.tasks:
            machine = task.process.machine
            known = self.client.runs_of_tasks.get(task.run.task_run_id)
            # Limits: of what nobody was told, or that it was told nobody was.
            gone = not machine.up and (known is None or (known.state and known.state.is_final()))
            assert task.told or gone or task.silenced, f"told by nobody: {task.statuses}"
            for by, ending in task.told:
                was = self._was_cancelled(task.process)
                late = {"Cancelled"} if was and "itself" not in by else set()
                if self.clocks_right and not task.given_up:
                    assert ending.status in task.statuses | late, f"{ending} for {task.statuses}"
                    if by == machine.machine and ending.status != "Completed":
                        assert ending.at <= task.process.stamp + decision.STAMP, "it ends too late"

    def clock(self, machine: Machine) -> int:
        return self.now + machine.behind

    # Time.

    def _wait(self, length: str) -> None:
        left = int(length[:-1]) * {"s": SECOND, "m": MINUTE}[length[-1]]
        while left > 0:
            self._advance(min(left, STEP))
            left -= STEP
            for process in self.processes:
                if process.running and not self.client.away:
                    if process.heartbeats:
                        at = self.clock(process.machine)
                        self.client.heard_of(process.root, _SENT, at)
                    self._report(process)
            # Twice in the time that others listen for a sign: an answer may be lost.
            for machine in self.machines.values():
                self._tend(machine)

    def _advance(self, ns: int) -> None:
        self.now += ns
        for process in [each for machine in self.machines.values() for each in machine.processes]:
            at = self.clock(process.machine)
            if process.running and abs(at - process.stamp) >= decision.STAMP:
                process.stamp = at

    def _clock(self, name: str, seconds: str) -> None:
        """The clock of a machine is set: by an hour only while nothing runs on it."""
        machine, behind = self.machines[name], int(seconds) * SECOND
        big = max(abs(behind), abs(machine.behind)) > MINUTE
        if big and any(process.alive for process in machine.processes):
            return
        # A limit: what is silent for a minute is silent for an hour, for one whose clock says so.
        if big and any(process.frozen or not process.heartbeats for process in self.processes):
            return
        machine.behind = behind
        self.clocks_right = False

    # The server.

    def _away(self, steps: str = "") -> None:
        if steps:
            self.client.fault = ("away", int(steps))
        else:
            self.client.away = True

    def _lose(self, steps: str) -> None:
        self.client.fault = ("lose", int(steps))

    def _kill_pass(self, steps: str) -> None:
        self.client.fault = ("kill", int(steps))

    def _back(self) -> None:
        self.client.away = False
        if self.client.fault and self.client.fault[0] == "away":
            self.client.fault = None

    def _click(self, verb: str, number: str) -> None:
        process = self._process(number)
        if process is None or self.client.away:
            return
        state = self.client.flow_runs[process.root].state
        if state is None or state.is_completed() or (verb == "cancel" and state.is_final()):
            return
        self.client.put(process.root, STATES[verb](message="by hand"))

    # Machines.

    def _off(self, name: str) -> None:
        """The power fails."""
        machine = self.machines[name]
        # A limit: what it has told and could not report, nobody else can know.
        told = [task for p in machine.processes for task in p.tasks if task.told_by_itself]
        # A limit: what it has marked as its to tell, and did not tell before it was killed.
        marked = [task for task in self.tasks if self._spoken_for_by(task) == name]
        if not machine.up or not all(map(self._is_known, told)) or not all(t.told for t in marked):
            return
        machine.up, machine.worker = False, None
        for process in machine.processes:
            self._die(process)

    def _on(self, name: str) -> None:
        self.machines[name].up = True

    def _pass(self, name: str) -> None:
        """Reconcile."""
        machine = self.machines[name]

        def both() -> None:
            look = self._look(machine)
            look.settle_machine()
            look.settle_gone(LOOKBACK, TAGS)

        self._try(machine, both)

    def _look(self, machine: Machine, hook: UUID | None = None) -> Pass:
        self.looking = machine
        return Pass(
            self.server,
            machine,  # type: ignore[arg-type]
            end=self._ends(machine, hook),
            now=lambda: self.clock(machine),
        )

    def _sweep(self, name: str) -> None:
        """Reconcile, and again when who was only suspected has had time to give a sign."""
        self._pass(name)
        self._wait("70s")
        self._pass(name)

    def _tend(
        self, machine: Machine, root_id: UUID | None = None, told: State[Any] | None = None
    ) -> None:
        """Settle what died here: as a worker does now and then, or as a hook."""
        state = told or (self.client.flow_runs[root_id].state if root_id else None)
        self._try(machine, lambda: self._look(machine, root_id).settle_machine(root_id, state))

    def _try(self, machine: Machine, work: Callable[[], None]) -> None:
        if not machine.up:
            return
        machine.killed = False
        with contextlib.suppress(Away):
            try:
                work()
            except Killed as killed:
                machine.killed = True
                traceback.clear_frames(killed.__traceback__)

    # Processes.

    def _start(self, name: str, heartbeats: str = "") -> None:
        machine = self.machines[name]
        if not machine.up or self.client.away or len(self.processes) == 4:
            return
        right = all(abs(other.behind) <= MINUTE for other in self.machines.values())
        heartbeats = heartbeats if right else ""
        root = self._make_flow_run()
        self.client.put(root, Pending())
        self._begin(machine, root, heartbeats != "unheard")

    def _take(self, name: str) -> None:
        """A worker takes a flow run, and has it in hand until it has said how that ended."""
        machine = self.machines[name]
        if machine.up and not self.client.away and len(self.processes) < 4:
            self._hold(machine, self._make_flow_run(), heartbeats=True)

    def _hold(self, machine: Machine, root: UUID, heartbeats: bool) -> None:
        if machine.worker is None:
            machine.worker = Worked(machine, root, 0, False, self.clock(machine))
            machine.processes.append(machine.worker)
        record = records.of_flow(root, self.clock(machine))
        machine.worker.records[records.HELD(root)] = dump(record)
        self.client.put(root, Pending())
        machine.taken.append((root, heartbeats))

    def _begin_taken(self, name: str) -> None:
        """What a worker has taken gets its process, if it is still to have one."""
        machine = self.machines[name]
        if machine.worker is None or self.client.away:
            return
        for root, heartbeats in machine.taken:
            held = records.HELD(root) in machine.worker.records
            state = self.client.flow_runs[root].state
            if held and state and state.is_pending():
                self._begin(machine, root, heartbeats)
            elif held:
                del machine.worker.records[records.HELD(root)]
        machine.taken.clear()

    def _let_go(self, number: str) -> None:
        """A worker is done with a run that has ended, though the server did not hear how."""
        process = self._process(number)
        if process and not process.alive and (worker := process.machine.worker):
            worker.records.pop(records.HELD(process.root), None)

    def _kill_worker(self, name: str) -> None:
        machine = self.machines[name]
        if machine.worker is not None:
            self._die(machine.worker)
            machine.worker = None

    def _retry(self, number: str, name: str) -> None:
        """Run a flow run again, in a new process."""
        process, machine = self._process(number), self.machines[name]
        if process is None or self.client.away or not machine.up or len(self.processes) == 6:
            return
        state = self.client.flow_runs[process.root].state
        if state is None or not state.is_final() or state.is_completed():
            return
        self.client.put(process.root, AwaitingRetry())
        self._advance(SECOND)
        if machine.worker is not None:
            self._hold(machine, process.root, process.heartbeats)
            return
        self.client.put(process.root, Pending())
        self._begin(machine, process.root, process.heartbeats)

    def _begin(self, machine: Machine, root: UUID, heartbeats: bool) -> None:
        self.client.put(root, Running())
        attempt = self.client.flow_runs[root].run_count
        process = Worked(machine, root, attempt, heartbeats, self.clock(machine))
        machine.processes.append(process)
        self.processes.append(process)
        self._begin_flow_run(process, root)
        if heartbeats:  # the first of which may never come
            told = {HEARTBEAT_FREQUENCY: "30"}
            self.client.flow_runs[root].job_variables = {"env": told}

    def _begin_flow_run(self, process: Worked, flow_run_id: UUID) -> None:
        process.flow_run_ids.append(flow_run_id)
        record = records.of_flow(flow_run_id, self.clock(process.machine), process.root)
        process.records[records.FLOW(flow_run_id)] = dump(record)

    def _nested(self, number: str) -> None:
        """A flow run begins in another one's process; tasks that start are its from now on."""
        process = self._process(number)
        if process is None or not process.running or self.client.away:
            return
        if self.client.flow_runs[process.root].run_count != process.attempt:
            return  # a limit, as of tasks
        inner = self._make_flow_run()
        stands_for = TaskRun(
            id=self._id(), flow_run_id=process.flow_run_ids[-1], task_key="inner", dynamic_key="0"
        )
        self.client.runs_of_tasks[stands_for.id] = stands_for
        self.client.flow_runs[inner].parent_task_run_id = stands_for.id
        self.client.put(inner, Running())
        self._begin_flow_run(process, inner)

    def _task(self, number: str) -> None:
        process = self._process(number)
        if process is None or not process.running or len(process.tasks) == 3:
            return
        # Limits: a process that was given up, or whose flow run is another's now, and goes on.
        attempt = self.client.flow_runs[process.root].run_count
        if any(task.given_up for task in process.tasks) or attempt != process.attempt:
            return
        flow_run = self.client.flow_runs[process.flow_run_ids[-1]]
        at = moment(self.clock(process.machine))
        record = TaskRun(
            id=self._id(),
            flow_run_id=flow_run.id,
            flow_run_run_count=process.attempt if flow_run.id == process.root else 1,
            task_key="work",
            dynamic_key="0",
            start_time=at,
            state=State(type=StateType.RUNNING, timestamp=at),
            labels={records.TASK_TYPE: "WorkTask", records.TASK_NAME: "Work"},
        )
        run = span.run_of(record, flow_run, process.root)
        process.records[run.key] = dump(records.of_task(run))
        task = Task(run, flow_run, record, process)
        process.tasks.append(task)
        self.tasks.append(task)
        self._say(task)

    def _end(self, number: str) -> None:
        self._end_own(number, "Completed")

    def _raise(self, number: str) -> None:
        self._end_own(number, "Failed")

    def _end_own(self, number: str, status: str) -> None:
        """The oldest task run of a process ends."""
        process = self._process(number)
        if process is not None and process.running and self._may_tell(process):
            for task in [task for task in process.tasks if task.open][:1]:
                self._told_by_itself(task, status)

    def _told_by_itself(self, task: Task, status: str) -> None:
        """Do as `haas_otel.hooks` do at the end of a task run."""
        machine, run = task.process.machine, task.run
        ending = span.Ending(status, self.clock(machine), "by itself")  # type: ignore[arg-type]
        spoken_for = False
        if ending.at - run.start > decision.silence() and not self.client.away:
            marked = self.client.flow_runs[task.flow_run.id]
            spoken_for = records.is_spoken_for(marked, run.task_run_id, machine.machine)
        evidence = Evidence(now=self.clock(machine), own=ending, spoken_for=spoken_for)
        if isinstance(decide(evidence), decision.End):
            self._hear(task, machine, ending, own=True)
        elif not task.told:
            # A limit: who marked it was broken off before it told it, and finds it ended now.
            task.silenced = True
        self._over(task, {status})
        task.process.records.pop(run.key)
        kind = {"Cancelled": StateType.CRASHED}.get(status) or StateType[status.upper()]
        task.record.state = State(type=kind, timestamp=moment(ending.at))
        if status == "Cancelled":
            task.record.labels[records.ENDED] = status
        self._say(task)

    def _finish(self, number: str) -> None:
        """All of a process ends well."""
        self._exit(number, "Completed", Completed())

    def _fail(self, number: str) -> None:
        self._exit(number, "Failed", Failed(message="by itself"))

    def _exit(self, number: str, status: str, state: State[Any]) -> None:
        process = self._process(number)
        if process is None or not process.running or not self._may_tell(process):
            return
        for task in process.tasks:
            if task.open:
                self._told_by_itself(task, status)
        self._report(process, lost=True)
        now = self.client.flow_runs[process.root]
        taken = now.run_count == process.attempt and now.state and not now.state.is_cancelled()
        for flow_run_id in reversed(process.flow_run_ids):
            # What the server has not taken is no end: Prefect calls no hook after it.
            if self.client.away or not taken:
                break
            self.client.put(flow_run_id, state.model_copy())
            process.records.pop(records.FLOW(flow_run_id))
        process.alive = False

    def _obey(self, number: str) -> None:
        """A flow run that is cancelled gets SIGTERM, and what it runs stops."""
        process = self._process(number)
        if process is None or not self._is_being_cancelled(process) or not process.running:
            return
        if not self._may_tell(process):
            return
        for task in process.tasks:
            if task.open:
                self._told_by_itself(task, "Cancelled")
        self._report(process, lost=True)
        process.alive = False
        self._stopped(process)

    def _enforce(self, number: str) -> None:
        """A flow run that is cancelled gets SIGTERM, goes on, and is killed."""
        process = self._process(number)
        if process is not None and self._is_being_cancelled(process) and process.alive:
            self._wait("30s")
            self._die(process)
            self._stopped(process)

    def _stop(self, number: str, obeys: str = "") -> None:
        """The system stops a worker, and it a run: the server is too slow to hear of it yet."""
        process = self._process(number)
        if process is None or not process.alive or not self._is_in_hand(process):
            return
        flow_run = self.client.flow_runs[process.root]
        is_open = flow_run.state and (flow_run.state.is_running() or flow_run.state.is_pending())
        if not is_open or flow_run.run_count != process.attempt:
            return
        process.stopped = True
        if not self.client.away:
            process.labelled = True
            flow_run.labels.update(records.stopped_by("The worker", flow_run))
        for task in [task for task in process.tasks if task.open]:
            if obeys and process.running and self._may_tell(process):
                self._told_by_itself(task, "Cancelled")
            else:  # nobody may be left to say it
                self._over(task, {"Cancelled", "Failed"})
        self._report(process, lost=True)
        self._die(process)

    def _stopped(self, process: Worked) -> None:
        """The runner says that a flow run is cancelled, and runs its hooks."""
        if not self.client.away and self._is_being_cancelled(process):
            self.client.put(process.root, Cancelled())
        self._tend(process.machine, process.root)

    def _kill(self, number: str) -> None:
        process = self._process(number)
        if process is not None and process.alive:
            self._advance(3 * SECOND)
            self._die(process)

    def _kill_late(self, number: str) -> None:
        """A process is killed after its task run was reported Completed, before its span is."""
        process = self._process(number)
        if process is None or not process.running:
            return
        for task in [task for task in process.tasks if task.open and not task.given_up][:1]:
            ended = moment(self.clock(process.machine))
            task.record.state = State(type=StateType.COMPLETED, timestamp=ended)
            self._say(task)
            if self._report(process):
                self._over(task, {"Completed"})
        self._die(process)

    def _notice(self, number: str) -> None:
        """The worker sees that a process died, and runs the flow run's hooks."""
        process = self._process(number)
        if process is None or process.alive or self.client.away or not process.machine.up:
            return
        told: State[Any] = Crashed(message="killed")
        if process.stopped:  # its hooks are called before the server hears of it
            told = Cancelled(message="The worker was stopped by the system.")
            told.timestamp = moment(self.clock(process.machine))
            self._tend(process.machine, process.root, told)
        flow_run = self.client.flow_runs[process.root]
        if flow_run.state and flow_run.state.is_running() and flow_run.run_count == process.attempt:
            self.client.put(process.root, told)
        self._tend(process.machine, process.root)
        self._let_go(number)

    def _freeze(self, number: str) -> None:
        process = self._process(number)
        # A limit: what it has told and not reported yet, nobody else can know.
        right = all(abs(machine.behind) <= MINUTE for machine in self.machines.values())
        if process and right and all(map(self._is_known, (t for t in process.tasks if t.told))):
            process.frozen = process.alive

    def _thaw(self, number: str) -> None:
        if (process := self._process(number)) is not None:
            process.frozen = False

    def _slow(self, number: str) -> None:
        """What a process reports leaves it later."""
        if (process := self._process(number)) is not None:
            process.slow = True

    # What these have in common.

    def _process(self, number: str) -> Worked | None:
        at = int(number)
        return self.processes[at] if at < len(self.processes) else None

    def _id(self) -> UUID:
        self._ids += 1
        return UUID(int=0x0190 << 112 | 7 << 76 | 2 << 62 | self._ids)

    def _make_flow_run(self) -> UUID:
        flow_run = FlowRun(id=self._id(), flow_id=_FLOW, name="run", tags=TAGS)
        self.client.flow_runs[flow_run.id] = flow_run
        return flow_run.id

    def _say(self, task: Task) -> None:
        """Report a task run as it is now."""
        copied = _copy(task.record)

        def arrive() -> None:
            self.client.runs_of_tasks[copied.id] = copied

        task.process.reports.append(arrive)
        if not task.process.slow:
            self._report(task.process)

    def _report(self, process: Worked, *, lost: bool = False) -> bool:
        arrives = not self.client.away
        if arrives:
            for arrive in process.reports:
                arrive()
        if arrives or lost:
            process.reports.clear()
        return arrives

    def _is_in_hand(self, process: Worked) -> bool:
        worker = process.machine.worker
        return worker is not None and records.HELD(process.root) in worker.records

    def _is_being_cancelled(self, process: Worked) -> bool:
        flow_run = self.client.flow_runs[process.root]
        state = flow_run.state
        return flow_run.run_count == process.attempt and state is not None and state.is_cancelling()

    def _is_known(self, task: Task) -> bool:
        """Whether the server knows that a task run's span is ended."""
        known = self.client.runs_of_tasks.get(task.run.task_run_id)
        if known is None:
            return False
        ended = known.state is not None and (known.state.is_final())
        return ended or self._spoken_for_by(task) is not None

    def _spoken_for_by(self, task: Task) -> str | None:
        marks = self.client.flow_runs[task.flow_run.id].labels
        (mark,) = records.spoken_for([task.run.task_run_id], None)
        return marks.get(mark)

    def _may_tell(self, process: Worked) -> bool:
        """A limit: one that was given up, and cannot ask whether it was."""
        return not (self.client.away and any(task.given_up for task in process.tasks))

    def _die(self, process: Worked) -> None:
        process.alive = process.frozen = False
        process.reports.clear()
        for task in process.tasks:
            if task.open:
                was = self._was_cancelled(task.process)
                self._over(task, {"Cancelled"} if was else {"Failed"})

    def _over(self, task: Task, statuses: set[str]) -> None:
        if task.open:
            task.open = False
            task.statuses |= statuses

    def _was_cancelled(self, process: Worked) -> bool:
        """Whether the attempt of a flow run that a process has is cancelled by now."""
        attempt, cancelled = 0, False
        for state in self.client.histories[process.root]:
            attempt += state.is_running()
            if attempt == process.attempt:
                cancelled |= state.is_cancelling() or state.is_cancelled()
        return cancelled

    def _ends(self, machine: Machine, hook: UUID | None) -> Callable[[Run, Any, Ending], None]:
        def end(run: Run, _: Any, ending: Ending) -> None:
            self.client.pass_on()
            (task,) = [task for task in self.tasks if task.run.task_run_id == run.task_run_id]
            in_hand = machine is task.process.machine and self._is_in_hand(task.process)
            assert hook or not in_hand, "its worker has it in hand"
            if self._is_stopped(task.process.root) and "Cancelled" in task.statuses:
                assert ending.status == "Cancelled", "the system stopped it"
            self._hear(task, machine, ending, own=False)
            self.client.pass_on(after=True)

        return end

    def _is_stopped(self, root: UUID) -> bool:
        """Whether the system has stopped a flow run that goes on, and the server has the label."""
        flow_run, mine = self.client.flow_runs[root], [p for p in self.processes if p.root == root]
        labelled = [process.attempt for process in mine if process.labelled]
        goes_on = flow_run.state is not None and flow_run.state.is_running()
        return goes_on and flow_run.run_count in labelled

    def _stopping(self, flow_run_id: UUID, state: State[Any]) -> None:
        """Who reconciles sets a flow run Crashed or Cancelled, or tries to."""
        now = self.client.flow_runs[flow_run_id].state
        is_wanted = self._is_stopped(flow_run_id) or (now and now.is_cancelling())
        around = [p for p in self.processes if flow_run_id in p.flow_run_ids[1:]]
        for process in around:
            attempt = self.client.flow_runs[process.root].run_count
            stopped = process.attempt == attempt and self._is_stopped(process.root)
            is_wanted = is_wanted or stopped or self._was_cancelled(process)
        if self.clocks_right or not around:
            assert state.is_cancelled() == bool(is_wanted), "as if nobody had, or had, wanted it"
        silent = self.now - self.client.heard[flow_run_id] >= decision.silence() - MINUTE
        attempt = self.client.flow_runs[flow_run_id].run_count
        for process in self.processes:
            goes_on = process.alive and process.attempt == attempt
            assert silent or process.root != flow_run_id or not goes_on, "its process lives"
        for machine in self.machines.values():
            key, worker = records.HELD(flow_run_id), machine.worker
            in_hand = worker is not None and key in worker.records
            far_away = silent and machine is not self.looking
            assert far_away or not in_hand, "its worker has it in hand"

    def _hear(self, task: Task, machine: Machine, ending: Ending, *, own: bool) -> None:
        """A span is ended on a machine: the one place where it is judged."""
        machine.spans.add((task.run.trace_id, task.run.span_id))
        task.told.append((f"{machine.machine}{' itself' if own else ''}", ending))
        assert len(task.told) == 1, f"told twice: {task.told}"
        if own:
            return
        if task.open:
            assert not task.process.alive or machine is not task.process.machine, "it lives"
            silent = self.now - self.client.heard[task.process.root]
            assert silent >= decision.silence() - MINUTE, f"its process lives: {ending}"
            task.given_up = True
