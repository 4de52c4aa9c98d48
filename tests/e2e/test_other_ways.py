"""The other ways to run and to end: terminals, `serve()`, task workers, retries, signals."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from prefect.states import Scheduled

from tests.e2e.conftest import POOL, PROJECT
from tests.e2e.prefect_processes import end, start
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.e2e.api import Api
    from tests.e2e.delivery import Collector
    from tests.e2e.prefect_processes import PrefectProcesses
    from tests.warm import Program

pytestmark = pytest.mark.timeout(900)


@dataclass
class Ways:
    """The runs of this module, all started at once."""

    api: Api
    collector: Collector
    environment: dict[str, str]
    runs: dict[str, UUID] = field(default_factory=dict)
    services: list[subprocess.Popen[bytes]] = field(default_factory=list)
    terminals: dict[str, Program] = field(default_factory=dict)

    def serve(self, argument: str) -> None:
        """Start a process of the project's that runs what it is sent."""
        argv = [sys.executable, "endings.py", argument]
        log = self.collector.folder / f"{argument}.log"
        self.services.append(start(argv, self.environment, log, PROJECT))

    def start(self, name: str, function: str) -> None:
        """Run a flow in a process of its own, as a person would in a terminal."""
        marks = self.collector.folder / name
        marks.mkdir()
        environment = {**self.environment, "MARKS": str(marks)}
        with (marks / "log").open("w+") as log:
            self.terminals[name] = warm().start(
                "endings.py", function, env=environment, cwd=PROJECT, files=(log, log, log)
            )

    def run_in(self, name: str) -> UUID:
        """Return the id of the run in a terminal, when it has begun."""
        marks = self.collector.folder / name
        (mark,) = wait_until(lambda: list(marks.glob("*-*")), timeout=120, what=f"{name} to begin")
        return UUID(mark.stem)

    def run(self, name: str, function: str, pool: str = POOL) -> None:
        """Start a run of a deployment."""
        deployment = self.api.deploy(PROJECT, f"endings.py:{function}", pool)
        self.runs[name] = self.api.run(deployment, environment=self.collector.environment)

    def pid(self, name: str) -> int:
        return self.collector.pid_when_running(self.api, self.runs[name])


@pytest.fixture(scope="module")
def ways(prefect: PrefectProcesses, api: Api, collector: Collector) -> Iterator[Ways]:
    ways = Ways(api, collector, {**prefect.environment, **collector.environment})
    try:
        ways.serve("serve")
        ways.serve("task-worker")
        for name in ("SIGINT", "SIGTERM"):
            ways.start(name, "obeyed")
        ways.run("terminated", "obeyed")
        for name in ("retried after a kill", "retried after a cancel"):
            ways.run(name, "retried_flow")
        api.deploy(PROJECT, "endings.py:returned", POOL)
        ways.run("parent", "starts_a_child")
        served = wait_until(
            lambda: next((d for d in api.client.read_deployments() if d.name == "served"), None),
            timeout=120,
            what="the served deployment",
        )
        for name in ("served, cancelled", "served, killed"):
            ways.runs[name] = api.run(served.id)
        yield ways
    finally:
        for process in ways.services:
            end(process)
        for program in ways.terminals.values():
            with suppress(ProcessLookupError):
                program.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_in_a_terminal(ways: Ways, name: str) -> None:
    run = ways.run_in(name)
    ways.terminals[name].send_signal(signal.Signals[name])
    ways.terminals[name].wait()
    (span,) = ways.collector.wait_for_spans(run)
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["media.progress"] == 42.5
    assert [event.name for event in span.events] == ["task.started", "task.cancelled"]


def test_terminated_by_the_system(ways: Ways, api: Api) -> None:
    os.kill(ways.pid("terminated"), signal.SIGTERM)
    assert api.wait_for_end(ways.runs["terminated"]).state_name == "Crashed"
    (span,) = ways.collector.wait_for_spans(ways.runs["terminated"])
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["media.progress"] == 42.5


def test_retried_flow_run_tells_the_old_task_run_once(ways: Ways, api: Api) -> None:
    killed, cancelled = (ways.runs[f"retried after a {how}"] for how in ("kill", "cancel"))
    os.kill(ways.pid("retried after a kill"), signal.SIGKILL)
    ways.pid("retried after a cancel")
    api.cancel(cancelled)
    told = [(killed, "Crashed", "Failed"), (cancelled, "Cancelled", "Cancelled")]
    for run, _, _ in told:
        api.wait_for_end(run)
        ways.collector.wait_for_spans(run)

    def retried(run: UUID, ended_as: str) -> bool:
        """Retry until it completes: a worker reports a dead process twice, the second time late."""
        name = api.flow_run(run).state_name
        if name == ended_as:
            api.client.set_flow_run_state(run, Scheduled(name="AwaitingRetry"), force=True)
        return name == "Completed"

    both = lambda: {retried(run, ended_as) for run, ended_as, _ in told} == {True}  # noqa: E731
    wait_until(both, timeout=240, interval=0.5, what="the retries")
    for run, _, status in told:
        # One that was reported dead late, as it went on, has been retried once more.
        attempts = api.task_runs(run)
        assert len(attempts) > 1
        spans = ways.collector.wait_for_spans(run, len(attempts))
        assert {span.attributes["task.id"] for span in spans} == {str(each.id) for each in attempts}
        found = [(s.attributes["task.status"], s.attributes["prefect.attempt"]) for s in spans]
        again = [("Completed", attempt) for attempt in range(2, len(spans) + 1)]
        assert found == [(status, 1), *again]


def test_flow_that_returns_a_failure_is_retried_with_a_task_run_and_span_of_its_own(
    ways: Ways, api: Api
) -> None:
    """Since Prefect 3.9; before, the failed state that it returns was its end."""
    ways.start("returns", "returns_its_failure")
    assert ways.terminals["returns"].wait() == 0
    run = ways.run_in("returns")
    spans = ways.collector.wait_for_spans(run, 2)
    assert [s.attributes["task.status"] for s in spans] == ["Failed", "Completed"]
    assert [s.attributes["prefect.attempt"] for s in spans] == [1, 2]
    assert {s.attributes["task.id"] for s in spans} == {str(t.id) for t in api.task_runs(run)}


def test_cancelled_before_it_started_leaves_no_span(ways: Ways, api: Api) -> None:
    api.make_pool("nobody-works-here")
    ways.run("idle", "obeyed", pool="nobody-works-here")
    api.cancel(ways.runs["idle"])
    assert api.wait_for_end(ways.runs["idle"]).state_name == "Cancelled"
    assert ways.collector.spans(ways.runs["idle"]) == []


def test_task_worker(ways: Ways) -> None:
    script = "import endings; [print(endings.delayed.delay(n).task_run_id) for n in (5, -1)]"
    done = warm().run("-c", script, env=ways.environment, cwd=PROJECT)
    five, negative = (UUID(line) for line in done.stdout.split())
    (span,), (failed,) = (ways.collector.wait_for_spans(task) for task in (five, negative))
    assert span.attributes["task.status"] == "Completed"
    assert failed.attributes["exception.message"] == "-1 is negative"
    for task, each in ((five, span), (negative, failed)):
        assert each.attributes["task.id"] == str(task)
        assert each.name == "BackgroundTask.DelayedTask"


def test_child_run_of_a_deployment_hangs_under_the_task_that_ran_it(ways: Ways, api: Api) -> None:
    api.wait_for_end(ways.runs["parent"])
    parent, child = ways.collector.wait_for_spans(ways.runs["parent"], 2)
    assert child.parent_span_id == parent.span_id


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_served_run_leaves_one_span(ways: Ways, api: Api, how: str) -> None:
    run = ways.runs[f"served, {how}"]
    pid = ways.pid(f"served, {how}")
    if how == "cancelled":
        api.cancel(run)
    else:
        os.kill(pid, signal.SIGKILL)
    ended = api.wait_for_end(run)
    (span,) = ways.collector.wait_for_spans(run)
    (task_run,) = api.task_runs(run)
    assert span.span_id == task_run.id.hex[16:]
    assert span.name == "BackgroundTask.ObeysTask"
    if how == "cancelled":
        assert ended.state_name == "Cancelled"
        assert span.attributes["task.status"] == "Cancelled"
        assert span.attributes["media.progress"] == 42.5
        assert span.status_description == "Task was cancelled"
        marks = ways.collector.folder / f"{task_run.id}.cancellation"
        assert len(marks.read_text().splitlines()) == 1
    else:
        assert ended.state_name == "Crashed"
        assert span.attributes["task.status"] == "Failed"
        assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
        assert ended.state is not None
        assert span.status_description == ended.state.message
