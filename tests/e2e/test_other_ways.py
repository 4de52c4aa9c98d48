"""The other ways to run and to end: terminals, signals from the system, retries, task workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from prefect.states import Scheduled

from tests.e2e.conftest import POOL
from tests.e2e.delivery import wait_until_delivered
from tests.e2e.prefect_processes import end, wait_until
from tests.e2e.test_endings import SCOPE
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from tests.e2e.api import Api
    from tests.e2e.prefect_processes import PrefectProcesses
    from tests.received import ReceivedSpan


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().start("grpc") as receiver:
        yield receiver


@pytest.fixture
def environment(receiver: Receiver, tmp_path: Path) -> dict[str, str]:
    return {
        **receiver.environment,
        "MARKS": str(tmp_path),
        "HAAS_OTEL_DIR": str(tmp_path / "otel"),
    }


@pytest.fixture
def start(
    prefect: PrefectProcesses, project: Path, environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a process of the project's, as a person would in a terminal."""
    started: list[subprocess.Popen[bytes]] = []

    def start(argument: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "endings.py", argument],
                cwd=project,
                env={**prefect.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        end(process)


def task_spans(receiver: Receiver) -> list[ReceivedSpan]:
    return [s for s in receiver.spans if s.scope_name == SCOPE]


def wait_for_spans(receiver: Receiver, folder: Path, count: int) -> list[ReceivedSpan]:
    wait_until_delivered(
        lambda: len(task_spans(receiver)) >= count,
        {**receiver.environment, "HAAS_OTEL_DIR": str(folder / "otel")},
        what=f"{count} spans",
    )
    found = task_spans(receiver)
    assert len(found) == count
    return sorted(found, key=lambda span: span.start_ns)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_a_terminal(
    receiver: Receiver, start: Callable[[str], Any], tmp_path: Path, number: signal.Signals
) -> None:
    process = start("obeyed")
    wait_until(lambda: list(tmp_path.glob("*.running")), what="the body")
    process.send_signal(number)
    process.wait(60)
    (span,) = wait_for_spans(receiver, tmp_path, 1)
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["media.progress"] == 42.5
    assert [event.name for event in span.events] == ["task.started", "task.cancelled"]


@pytest.fixture
def run(
    api: Api, project: Path, environment: dict[str, str], worker_is_up: None
) -> Callable[[str], UUID]:
    def run(function: str) -> UUID:
        deployment = api.deploy(project, f"endings.py:{function}", POOL)
        return api.run(deployment, environment=environment)

    return run


def pid_when_running(api: Api, flow_run_id: UUID, folder: Path) -> int:
    marker = folder / f"{flow_run_id}.running"
    wait_until(marker.exists, what="the body")
    wait_until(
        lambda: any(r.state and r.state.is_running() for r in api.task_runs(flow_run_id)),
        what="the task run's record",
    )
    return int(marker.read_text())


def test_terminated_by_the_system(
    receiver: Receiver, api: Api, run: Callable[[str], UUID], tmp_path: Path
) -> None:
    flow_run_id = run("obeyed")
    os.kill(pid_when_running(api, flow_run_id, tmp_path), signal.SIGTERM)
    assert api.wait_for_end(flow_run_id).state_name == "Crashed"
    (span,) = wait_for_spans(receiver, tmp_path, 1)
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["media.progress"] == 42.5


def retry(api: Api, flow_run_id: UUID, ended_as: str) -> None:
    """Retry until it completes: a worker reports a dead process twice, the second time over us."""

    def completed() -> bool:
        name = api.flow_run(flow_run_id).state_name
        if name == ended_as:
            api.client.set_flow_run_state(flow_run_id, Scheduled(name="AwaitingRetry"), force=True)
        return name == "Completed"

    wait_until(completed, timeout=90, what="the retry")


@pytest.mark.parametrize("how", ["killed", "cancelled"])
def test_retried_flow_run_tells_the_old_task_run_once(
    receiver: Receiver, api: Api, run: Callable[[str], UUID], tmp_path: Path, how: str
) -> None:
    flow_run_id = run("retried_flow")
    pid = pid_when_running(api, flow_run_id, tmp_path)
    if how == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        api.cancel(flow_run_id)
    api.wait_for_end(flow_run_id)
    wait_for_spans(receiver, tmp_path, 1)
    retry(api, flow_run_id, ended_as="Crashed" if how == "killed" else "Cancelled")
    first, second = wait_for_spans(receiver, tmp_path, 2)
    status = "Failed" if how == "killed" else "Cancelled"
    assert (first.attributes["task.status"], first.attributes["prefect.attempt"]) == (status, 1)
    assert second.attributes["task.status"] == "Completed"
    assert second.attributes["prefect.attempt"] == 2
    assert first.trace_id == second.trace_id == flow_run_id.hex


def test_cancelled_before_it_started_leaves_no_span(
    receiver: Receiver, api: Api, project: Path, environment: dict[str, str]
) -> None:
    api.make_pool("nobody-works-here")
    deployment = api.deploy(project, "endings.py:obeyed", "nobody-works-here", name="idle")
    flow_run_id = api.run(deployment, environment=environment)
    api.cancel(flow_run_id)
    assert api.wait_for_end(flow_run_id).state_name == "Cancelled"
    assert task_spans(receiver) == []


def test_task_worker(
    receiver: Receiver,
    prefect: PrefectProcesses,
    project: Path,
    start: Callable[[str], Any],
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    start("task-worker")
    script = "import endings; [endings.delayed.delay(n) for n in (5, -1)]"
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=project,
        env={**prefect.environment, **environment},
        check=True,
        capture_output=True,
    )
    spans = {s.attributes["media.number"]: s for s in wait_for_spans(receiver, tmp_path, 2)}
    assert spans[5].attributes["task.status"] == "Completed"
    assert spans[-1].attributes["exception.message"] == "-1 is negative"
    for span in spans.values():
        assert span.trace_id == str(span.attributes["task.id"]).replace("-", "")
        assert span.name == "BackgroundTask.DelayedTask"


def test_child_run_of_a_deployment_hangs_under_the_task_that_ran_it(
    receiver: Receiver, api: Api, run: Callable[[str], UUID], project: Path, tmp_path: Path
) -> None:
    api.deploy(project, "endings.py:returned", POOL)
    parent_run = run("starts_a_child")
    api.wait_for_end(parent_run)
    parent, child = wait_for_spans(receiver, tmp_path, 2)
    assert child.trace_id == parent.trace_id == parent_run.hex
    assert child.parent_span_id == parent.span_id
