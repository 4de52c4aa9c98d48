"""A project that has haas-otel's wheel alone, and its runs, brought to their ends in every way."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter
from prefect.states import Scheduled

from tests.e2e.delivery import PROJECT
from tests.e2e.prefect_processes import end, start
from tests.waits import PATIENCE, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.api import Api
    from tests.e2e.delivery import Collector
    from tests.e2e.prefect_processes import PrefectProcesses

# Runs of a worker by name, and their flows. The one that ignores its cancellation takes longest:
# Prefect waits half a minute for it.
RUNS = {
    "ignored": "ignored",
    **dict.fromkeys(("cancelled", "terminated", "killed"), "obeyed"),
    "nesting": "nests",
    "by themselves": "end_by_themselves",
    "failure returned": "returns_its_failure",
    "parent": "starts_a_child",
}
SERVED = ("served, cancelled", "served, killed")
# Of task workers: what each is told to do, and the signal that it gets meanwhile.
TASK_WORKERS = {
    "stopped": ((5, -1, 0), signal.SIGTERM),
    "killed": ((0,), signal.SIGKILL),
}
_one_serves = threading.Lock()  # task workers of both projects would serve the same tasks


@dataclass
class Elsewhere:
    """The project, and its runs by name.

    Args:
        way: how its task runs get their spans.
        programs: where those of its environment are.
        instrument: what stands before its own commands, if anything.
        extra: more variables of its processes.
    """

    way: str
    api: Api
    prefect: PrefectProcesses
    collector: Collector
    programs: Path
    instrument: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)
    runs: dict[str, UUID] = field(default_factory=dict)
    tasks: dict[str, UUID] = field(default_factory=dict)  # without a flow
    died_at: dict[str, int] = field(default_factory=dict)  # ns
    _obeyed: UUID = field(init=False)

    @property
    def environment(self) -> dict[str, str]:
        collected = self.collector.environment
        return {**self.prefect.environment, **collected, "WAY": self.way, **self.extra}

    def prepare(self) -> None:
        """Deploy all flows, and ask for a run of each: nobody is there yet that takes one."""
        # More at once keep the server so busy that it refuses some. A limit of the worker's own
        # would end the worker, when a run that it still counts is retried.
        self.api.make_pool(self.way, limit=3)
        self.api.make_pool("nobody-works-here")
        deployments = {
            function: self.api.deploy(PROJECT, f"endings.py:{function}", self.way, self.way)
            for function in {*RUNS.values(), "returned"}
        }
        for name, function in RUNS.items():
            self.runs[name] = self.api.run(deployments[function])
        idle = self.api.deploy(PROJECT, "endings.py:takes_a_number", "nobody-works-here", self.way)
        self.runs["never begun"] = self.api.run(idle)
        self.api.cancel(self.runs["never begun"])
        self._obeyed = deployments["obeyed"]

    def run_all(self) -> None:
        """Bring one run of each kind to its end."""
        self.prefect.start_worker(
            self.way,
            self.way,
            program=[*self.instrument, self.programs / "prefect"],
            environment=self.environment,
        )
        with self._service("serve"):
            served = wait_until(self._served, what="the served deployment")
            for name in SERVED:
                self.runs[name] = self.api.run(served)
            self._end_by_force()
            self._retry("killed", "Crashed")
            self._retry("cancelled", "Cancelled")
            for name in (*RUNS, *SERVED):
                self.api.wait_for_end(self.runs[name])
        for name in TASK_WORKERS:
            self._serve_tasks(name)
        self._cut_power()
        self._interrupt()

    @contextmanager
    def _service(self, *arguments: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the project's script in a process of its own."""
        argv = [*self.instrument, str(self.programs / "python"), "endings.py", *arguments]
        log = self.collector.folder / f"{'-'.join(arguments)}.log"
        process = start(argv, {**self.environment, **more}, log, PROJECT)
        try:
            yield process
        finally:
            end(process)

    def _served(self) -> UUID | None:
        found = self.api.client.read_deployments()
        return next((each.id for each in found if each.name == f"served-{self.way}"), None)

    def _pid(self, name: str) -> int:
        return self.collector.pid_when_running(self.api, self.runs[name])

    def _end_by_force(self) -> None:
        for name in ("cancelled", "ignored", "served, cancelled"):
            self._pid(name)
            self.api.cancel(self.runs[name])
        os.kill(self._pid("terminated"), signal.SIGTERM)
        for name in ("killed", "served, killed"):
            os.kill(self._pid(name), signal.SIGKILL)
        nested = self._nested()
        os.kill(self.collector.pid_when_running(self.api, nested), signal.SIGKILL)
        self.api.wait_for_end(self.runs["nesting"])
        self.runs["nested, killed"] = nested

    def _nested(self) -> UUID:
        """Return the flow run inside the one that nests."""
        outer = FlowRunFilter(parent_flow_run_id={"any_": [self.runs["nesting"]]})
        found = lambda: self.api.client.read_flow_runs(flow_run_filter=outer)  # noqa: E731
        (run,) = wait_until(found, what="the nested run")
        nested: UUID = run.id
        return nested

    def _retry(self, name: str, ended_as: str) -> None:
        """Retry until it completes: a worker reports a dead process twice, the second time late."""
        run = self.runs[name]
        assert self.api.wait_for_end(run).state_name == ended_as
        self.collector.wait_for_spans(run)

        def completed() -> bool:
            now = self.api.flow_run(run).state_name
            if now == ended_as:
                self.api.client.set_flow_run_state(run, Scheduled(name="AwaitingRetry"), force=True)
            return now == "Completed"

        wait_until(completed, interval=0.5, what=f"the retry of {name}")

    def _serve_tasks(self, name: str) -> None:
        """Have a task worker do something, and end it meanwhile."""
        numbers, ended_by = TASK_WORKERS[name]
        with _one_serves, self._service("task-worker", *map(str, numbers)) as worker:
            for number in numbers:
                mark = self.collector.folder / f"{worker.pid}.{number}"
                wait_until(
                    lambda mark=mark: mark.exists() and mark.read_text(),
                    what=f"the task run of {number}",
                )
                self.tasks[f"{name} {number}"] = UUID(mark.read_text())
            for number in numbers:
                task = self.tasks[f"{name} {number}"]
                if number == 0:
                    running = self.collector.folder / f"{task}.running"
                    wait_until(running.exists, what=f"{name} to be in its task")
                else:
                    self.collector.wait_for_spans(task)
            worker.send_signal(ended_by)
            worker.wait(PATIENCE)
            self.died_at[f"{name} 0"] = time.time_ns()

    def _cut_power(self) -> None:
        """Kill a run and its worker at once: nobody is left to say how it ended."""
        self.runs["cut off"] = self.api.run(self._obeyed)
        pid = self._pid("cut off")
        self.prefect.kill_worker(self.way)
        os.kill(pid, signal.SIGKILL)
        self.died_at["cut off"] = time.time_ns()

    def _interrupt(self) -> None:
        """Run a flow in a terminal: the next process there, and it is interrupted at last."""
        marks = self.collector.folder / "terminal"
        marks.mkdir()
        with self._service("obeyed", MARKS=str(marks)) as process:
            (mark,) = wait_until(lambda: list(marks.glob("*.running")))
            run = self.runs["interrupted"] = UUID(mark.stem)
            self.collector.pid_when_running(self.api, run)
            for left in (self.runs["cut off"], self.tasks["killed 0"]):
                wait_until(
                    lambda left=left: self.collector.spans(left),
                    what=f"the end of {left}, told by the next process there",
                )
            self.api.wait_for_end(self.runs["cut off"])  # said after its spans
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)

    def state_messages(self, run: UUID) -> list[str]:
        states = self.api.client.read_flow_run_states(run)
        return [str(state.message) for state in states]
