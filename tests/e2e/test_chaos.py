"""Exactly one span for every started task run, whatever is done to runs, workers and servers.

A short form runs with the other tests; ``make chaos`` is the long one.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed, Failed

from flows import again
from haas_otel.server import HEARTBEAT_FREQUENCY
from tests.chaos import CHAOS
from tests.e2e.api import Api
from tests.e2e.delivery import SCOPE
from tests.e2e.fates import Plan, plans, right_statuses
from tests.e2e.prefect_processes import PrefectProcesses
from tests.receiver import Receiver
from tests.waits import PATIENCE, wait_until
from tests.warm import warm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from uuid import UUID

ROOT = Path(__file__).parent.parent.parent
SEED = 20251017
RUNS, AT_ONCE, FILES = (60, 5, 1500) if CHAOS else (8, 3, 500)
LONGEST = FILES / 250  # seconds; about as long as a run takes
HEARTBEAT = 30  # seconds, the least that Prefect allows
SILENCE = 60 if CHAOS else 40
AWAY = SILENCE + 30 if CHAOS else 2  # seconds, of the server
FROZEN = 20 if CHAOS else 5
WITH_ITS_WORKER = ("stop the worker", "kill the container", "cut the power", "kill the machine")
TRANSIENT = (httpx.HTTPError, OSError)


class Chaos:
    """A server, two workers, a collector, and what is done to them.

    Each worker has a machine of its own: the first is one of ours, the second a plain one.
    """

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder = folder
        self.receiver = receiver
        self.prefect = PrefectProcesses(
            folder / "home",
            extra={
                HEARTBEAT_FREQUENCY: str(HEARTBEAT),
                "HAAS_OTEL_SILENCE_SECONDS": str(SILENCE),
                "HAAS_LIBRARIES": _libraries(folder),
                **receiver.environment,
            },
        )
        self.api = Api(self.prefect.api_url)
        self.lock = threading.Lock()
        self.births = Counter[str]()
        self.disks = {"one": Path("one"), "two": Path("two")}
        self.runs: dict[UUID, Plan] = {}
        self.outages: list[tuple[float, float]] = []
        self.never_began: set[UUID] = set()
        self.lifetimes: dict[UUID, tuple[float, float]] = {}
        self.records: dict[UUID, UUID | None] | None = None

    def start(self) -> None:
        self.prefect.start_server()
        for pool in ("one", "two"):
            self.api.make_pool(pool)
            self.start_worker(pool)
        flow = "flows/metadata_scan.py:metadata_scan_flow"
        self.deployments = {
            pool: self.api.deploy(
                *(ROOT, flow, pool, pool),
                tags=["haas-media", again.TAG],
                environment={HEARTBEAT_FREQUENCY: str(HEARTBEAT)},  # as in prefect.yaml
            )
            for pool in ("one", "two")
        }

    def start_worker(self, pool: str) -> None:
        self.births[pool] += 1
        start = self.prefect.start_our_worker if pool == "one" else self.prefect.start_worker
        start(self.worker_of(pool), pool, environment={"HAAS_OTEL_DIR": str(self.disk_of(pool))})

    def supervise(self) -> None:
        """Start a worker again that has ended by itself, as a machine's init does."""
        with self.lock:
            for pool in self.disks:
                if self.prefect.workers[self.worker_of(pool)].poll() is not None:
                    self.prefect.workers.pop(self.worker_of(pool))
                    self.start_worker(pool)

    def worker_of(self, pool: str) -> str:
        return f"{pool}-{self.births[pool]}"

    def disk_of(self, pool: str) -> Path:
        """Return the folder of the machine that a pool's worker is on now."""
        return self.folder / "otel" / self.disks[pool]

    def carry_out(self, plan: Plan) -> None:
        """Start a run, do to it what is planned, and wait for it to end if it can."""
        run = persistently(
            lambda: self.api.run(
                self.deployments[plan.worker],
                environment={"HAAS_DATA_DIR": str(self.folder / f"data-{plan.number}")},
            )
        )
        self.runs[run] = plan
        began = time.time()
        try:
            wait_until(lambda: self.has_begun(run), interval=0.3, what=str(plan))
        except AssertionError:
            self.never_began.add(run)  # its machine died while the run's process was starting
            return
        process = persistently(lambda: self.api.process(run))
        time.sleep(plan.after)
        self.do(plan, run, process)
        # What went with a plain worker may only be flagged when all has been done.
        if plan.worker == "one" or plan.deed not in WITH_ITS_WORKER:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self.has_ended(run), interval=0.5)
                # One that was clicked on works on, whatever its record says.
                wait_until(lambda: not _lives(process), interval=0.5)
        self.lifetimes[run] = (began, time.time())

    def do(self, plan: Plan, run: UUID, process: psutil.Process | None) -> None:
        if plan.deed == "cancel":
            with contextlib.suppress(*TRANSIENT):
                self.api.cancel(run)
        elif plan.deed == "click":
            state = Crashed if plan.number % 2 else Failed
            with contextlib.suppress(*TRANSIENT):
                self.api.client.set_flow_run_state(run, state(message="a click"), force=True)
        elif plan.deed == "freeze" and process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                time.sleep(FROZEN)
                process.resume()
        elif plan.deed == "stop the worker":
            self.stop_worker(plan.worker)
        elif plan.deed == "kill the container":
            self.kill_workers(plan.worker)
        elif plan.deed == "cut the power":
            self.cut_power()
        elif plan.deed == "kill the machine":
            self.kill_workers(plan.worker, gone=True)
        elif plan.deed in ("terminate", "kill") and process is not None:
            number = signal.SIGTERM if plan.deed == "terminate" else signal.SIGKILL
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def stop_worker(self, pool: str) -> None:
        """SIGTERM to a worker; another one takes its place when it has ended."""
        with self.lock:
            worker = self.prefect.workers.pop(self.worker_of(pool))
            worker.terminate()
            worker.wait(PATIENCE)
            self.start_worker(pool)

    def kill_workers(self, *pools: str, gone: bool = False) -> None:
        """SIGKILL workers and all that they run; others take their place, on the same disks."""
        with self.lock:
            for pool in pools:
                kill_all(self.prefect.workers.pop(self.worker_of(pool)))
            for pool in pools:
                if gone:
                    self.disks[pool] = Path(f"{pool}-{self.births[pool]}")
                self.start_worker(pool)

    def cut_power(self) -> None:
        """SIGKILL the server, both workers and all that they run; then all of it comes up again."""
        with self.lock:
            began = time.time()
            assert self.prefect.server is not None
            workers = [self.prefect.workers.pop(self.worker_of(pool)) for pool in self.disks]
            kill_all(self.prefect.server, *workers)
            self.prefect.start_server()
            for pool in self.disks:
                self.start_worker(pool)
            self.outages.append((began, time.time() + 10))

    def restart_server(self) -> None:
        with self.lock:
            began = time.time()
            self.prefect.stop_server()
            time.sleep(AWAY)
            self.prefect.start_server()
            self.outages.append((began, time.time() + 10))

    def repetitions(self) -> set[UUID]:
        """Return the runs that repeat another, which the system cut off."""
        again.run_again(self.api.client)
        runs = self.api.client.read_flow_runs(limit=200)
        return {run.id for run in runs if again.OF in run.labels}

    def machines_that_told(self) -> Counter[str]:
        """Return on how many machines the span of a task run was ended, by the task run's id.

        Each knows a span once, and sends that. So a request that was not answered in time, and is
        sent again as it was, is no second telling.
        """
        found = Counter[str]()
        for file in self.folder.glob("**/traces.db"):
            with contextlib.closing(sqlite3.connect(file)) as index:
                query = "SELECT task_id FROM spans WHERE task_id IS NOT NULL"
                found.update(task for (task,) in index.execute(query))
        return found

    def has_begun(self, run: UUID) -> bool:
        with contextlib.suppress(*TRANSIENT):
            state = self.api.flow_run(run).state
            return state is not None and state.type not in (StateType.SCHEDULED, StateType.PENDING)
        return False

    def has_ended(self, run: UUID) -> bool:
        with contextlib.suppress(*TRANSIENT):
            state = self.api.flow_run(run).state
            return state is not None and state.is_final()
        return False

    def records_rest(self) -> bool:
        """Say whether no record of a task run has come since the last look: they are streamed."""
        before = self.records
        self.records = {task.id: task.state_id for r in self.runs for task in self.api.task_runs(r)}
        return before == self.records

    def was_in_an_outage(self, run: UUID) -> bool:
        began, ended = self.lifetimes.get(run, (0.0, time.time()))
        return any(start < ended and began < end for start, end in self.outages)

    def reconcile(self, machine: Path) -> None:
        """Have spans settled and delivered, on a machine."""
        script = (
            "from datetime import timedelta as t; from haas_otel import reconcile;"
            "from haas_otel.delivery import deliver_pending;"
            "print(reconcile(tags=['haas-media']), deliver_pending(t(seconds=20)))"
        )
        environment = self.prefect.environment | {"HAAS_OTEL_DIR": str(machine)}
        done = warm().run("-c", script, env=environment, cwd=self.folder)
        print(done.stdout)
        assert done.returncode == 0, done.stderr


def kill_all(*processes: subprocess.Popen[bytes]) -> None:
    """SIGKILL processes and all that they have started, at once."""
    families = [
        psutil.Process(p.pid).children(recursive=True) for p in processes if p.poll() is None
    ]
    for process in processes:
        process.kill()
    for member in itertools.chain.from_iterable(families):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    for process in processes:
        process.wait()


def persistently(call: Callable[[], Any]) -> Any:
    """Return what a call of the API returns, tried again while the server restarts."""
    deadline = time.monotonic() + 180
    while True:
        try:
            return call()
        except TRANSIENT:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _lives(process: psutil.Process | None) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process is not None and process.status() != psutil.STATUS_ZOMBIE
    return False


def _libraries(folder: Path) -> str:
    import json

    library = folder / "films"
    for n in range(FILES):
        film = library / f"Film number {n} ({1950 + n % 70})"
        film.mkdir(parents=True)
        (film / f"{film.name}.mkv").write_bytes(b"no film, but a file to look at" * (n % 9 + 1))
    return json.dumps([{"title": "Films", "kind": "movies", "path": str(library)}])


@pytest.mark.timeout(3000)
def test_exactly_one_span_for_every_started_task_run(tmp_path: Path) -> None:
    with Receiver().start("grpc") as receiver:
        chaos = Chaos(tmp_path, receiver)
        try:
            chaos.start()
            _wreak(chaos)
            _let_it_settle(chaos)
            _judge(chaos)
        finally:
            chaos.prefect.stop()


def _wreak(chaos: Chaos) -> None:
    todo = plans(SEED, RUNS, LONGEST)
    third = max(1, RUNS // 3)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        work = [pool.submit(chaos.carry_out, plan) for plan in todo]
        wait_until(lambda: sum(f.done() for f in work) >= third, timeout=1200)
        chaos.receiver.set_fault("refuse")
        chaos.restart_server()
        wait_until(lambda: sum(f.done() for f in work) >= 2 * third, timeout=1200)
        chaos.receiver.set_fault("silent")
        time.sleep(5)
        chaos.receiver.set_fault(None)
        for future in work:
            future.result()


def _let_it_settle(chaos: Chaos) -> None:

    def all_ended() -> bool:
        chaos.supervise()
        for run in chaos.repetitions() - set(chaos.runs):
            chaos.runs[run] = Plan(len(chaos.runs), "nothing", 0, "one")
        left = [run for run in set(chaos.runs) - chaos.never_began if not chaos.has_ended(run)]
        for run in left:
            found = chaos.api.flow_run(run)
            print(chaos.runs[run], found.state, found.labels)
        return not left

    def passed() -> bool:
        """Reconcile on what is left of the machines, then on one that speaks for those gone."""
        for machine in (chaos.disk_of("one"), chaos.disk_of("two"), chaos.folder / "third"):
            chaos.reconcile(machine)
        return all_ended()

    wait_until(passed, timeout=900, interval=10, what="every flow run to end")
    wait_until(chaos.records_rest, interval=10, what="the last records of task runs")
    # Also where machines were that are gone, as if their disks were found: what is ended stays so.
    for machine in [*(chaos.folder / "otel").iterdir(), chaos.folder / "third"] * 2:
        chaos.reconcile(machine)


def _judge(chaos: Chaos) -> None:
    # One that was not answered in time is sent again as it was.
    spans = {repr(span): span for span in chaos.receiver.spans if span.scope_name == SCOPE}
    told = Counter(
        (span.attributes["task.id"], span.attributes["task.status"]) for span in spans.values()
    )
    _judge_events(chaos, {(span.trace_id, span.span_id) for span in spans.values()})
    for run, plan in chaos.runs.items():
        states = [t.state_name for t in chaos.api.task_runs(run)]
        print(plan, chaos.api.flow_run(run).state_name, states, run)
    wrong: list[str] = []
    started: set[str] = set()
    for run, plan in chaos.runs.items():
        flow_run = chaos.api.flow_run(run)
        for task_run in chaos.api.task_runs(run):
            if task_run.start_time is None:
                continue
            started.add(str(task_run.id))
            mine = {status: n for (task, status), n in told.items() if task == str(task_run.id)}
            allowed = right_statuses(flow_run, task_run, during_outage=chaos.was_in_an_outage(run))
            if sum(mine.values()) != 1 or not set(mine) <= allowed:
                wrong.append(
                    f"{plan}: flow run {flow_run.state_name}, task run {task_run.state_name}, "
                    f"spans {mine}, right would be one of {allowed} ({run})"
                )
    print(Counter(plan.deed for plan in chaos.runs.values()))
    print(Counter(status for _, status in told.elements()), f"{len(started)} task runs started")
    assert wrong == []
    unknown = {task for task, _ in told if task not in started}
    # The server may never have learnt of a start: its process died with the record of it unsent.
    assert len(unknown) <= sum(
        chaos.was_in_an_outage(run) or plan.deed.startswith("kill")
        for run, plan in chaos.runs.items()
    )
    assert all(n == 1 for n in told.values())
    machines = chaos.machines_that_told()
    assert {task for task, n in machines.items() if n != 1} == set()
    assert set(machines) == {task for task, _ in told}
    left = chaos.api.client.read_flow_runs(limit=200)
    assert [run.id for run in left if run.state and run.state.is_running()] == []
    assert len(started) >= RUNS // 2


def _judge_events(chaos: Chaos, spans: set[tuple[str, str]]) -> None:
    """Each task run that was said to have started is said once to have ended, as its span is."""
    # As of spans: a request that was sent again is one.
    events = {
        (each.event_name, each.time_unix_nano, each.trace_id.hex(), each.span_id.hex())
        for each in chaos.receiver.events
    }
    ids = {
        which: Counter(each[2:] for each in events if each[0] == f"background_task.{which}")
        for which in ("started", "ended")
    }
    print({which: len(each) for which, each in ids.items()}, "events")
    assert set(ids["started"]) <= set(ids["ended"]) == spans
    assert {*ids["started"].values(), *ids["ended"].values()} == {1}
