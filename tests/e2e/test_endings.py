"""Every way a run can end, on a real server and worker, as a real collector receives it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import POOL
from tests.e2e.delivery import wait_until_delivered
from tests.e2e.prefect_processes import wait_until
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from prefect.client.schemas.objects import TaskRun

    from tests.e2e.api import Api
    from tests.e2e.prefect_processes import PrefectProcesses
    from tests.received import ReceivedSpan

SCOPE = "Haas.Media.BackgroundTasks"


@dataclass
class Endings:
    """One run of each kind, brought to its end, and what the collector received."""

    api: Api
    receiver: Receiver
    environment: dict[str, str]
    marks: Path
    runs: dict[str, UUID]

    def task_run(self, name: str) -> TaskRun:
        (task_run,) = self.api.task_runs(self.runs[name])
        return task_run

    def spans(self, name: str) -> list[ReceivedSpan]:
        """All task spans of a run's trace; there must be one."""
        trace_id = self.runs[name].hex
        found = [s for s in self.receiver.spans if s.trace_id == trace_id]
        return [s for s in found if s.scope_name == SCOPE]

    def children(self, name: str) -> list[ReceivedSpan]:
        trace_id = self.runs[name].hex
        found = [s for s in self.receiver.spans if s.trace_id == trace_id]
        return [s for s in found if s.scope_name != SCOPE]


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def endings(
    request: pytest.FixtureRequest,
    prefect: PrefectProcesses,
    api: Api,
    project: Path,
    worker_is_up: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Endings]:
    marks = tmp_path_factory.mktemp("marks")
    with Receiver().start(request.param) as receiver:
        environment = {
            **receiver.environment,
            "MARKS": str(marks),
            "HAAS_OTEL_DIR": str(tmp_path_factory.mktemp("otel")),
        }
        runs = {}
        flows = ["ignored", "obeyed", "returned", "raised", "timed_out", "retried"]
        for name in [*flows, "killed"]:
            function = "obeyed" if name == "killed" else name
            deployment = api.deploy(project, f"endings.py:{function}", POOL)
            runs[name] = api.run(deployment, environment=environment)
        for name in ("ignored", "obeyed", "killed"):
            reached = marks / f"{runs[name]}.running"
            wait_until(reached.exists, timeout=90, what=f"{name} to be running")
            run = runs[name]
            wait_until(lambda run=run: _known_to_run(api, run), timeout=30, what="the record")
            if name == "killed":
                os.kill(int(reached.read_text()), signal.SIGKILL)
            else:
                api.cancel(runs[name])
        for run in runs.values():
            api.wait_for_end(run)
        yield Endings(api, receiver, environment, marks, runs)


def _known_to_run(api: Api, flow_run_id: UUID) -> bool:
    return any(run.state and run.state.is_running() for run in api.task_runs(flow_run_id))


def one_span(endings: Endings, name: str) -> ReceivedSpan:
    spans = lambda: endings.spans(name)  # noqa: E731
    (span,) = wait_until_delivered(spans, endings.environment, what=f"the span of {name}")
    return span


def without_times(span: ReceivedSpan) -> dict[str, Any]:
    """The span as the contract states it; times are compared with the run's states apart."""
    attributes = {k: v for k, v in span.attributes.items() if k != "task.duration_ms"}
    return {
        "name": span.name,
        "kind": span.kind,
        "status": (span.status_code, span.status_description),
        "attributes": attributes,
        "events": [(event.name, event.attributes) for event in span.events],
    }


def expected(endings: Endings, run: str, /, **differing: Any) -> dict[str, Any]:
    task_run = endings.task_run(run)
    flow_run = endings.api.flow_run(endings.runs[run])
    return {
        "kind": "INTERNAL",
        **differing,
        "attributes": {
            "task.id": str(task_run.id),
            "prefect.flow_run.id": str(flow_run.id),
            "prefect.flow_run.name": flow_run.name,
            "prefect.flow_run.url": f"{endings.api.ui_url}/runs/flow-run/{flow_run.id}",
            "prefect.deployment.id": str(flow_run.deployment_id),
            "prefect.attempt": 1,
            **differing["attributes"],
        },
    }


@pytest.mark.parametrize(
    "name", ["returned", "raised", "timed_out", "retried", "obeyed", "ignored", "killed"]
)
def test_ids_times_and_duration_are_those_of_the_run(endings: Endings, name: str) -> None:
    span = one_span(endings, name)
    task_run = endings.task_run(name)
    assert span.trace_id == endings.runs[name].hex
    assert span.span_id == task_run.id.hex[16:]
    assert span.parent_span_id == ""
    assert task_run.start_time is not None
    assert span.start_ns == round(task_run.start_time.timestamp() * 1e6) * 1000
    assert span.attributes["task.duration_ms"] == (span.end_ns - span.start_ns) / 1e6
    assert isinstance(span.attributes["task.duration_ms"], float)
    assert all(span.start_ns <= event.time_ns <= span.end_ns for event in span.events)
    if name in ("returned", "raised", "timed_out", "retried"):
        assert task_run.end_time is not None
        assert span.end_ns == round(task_run.end_time.timestamp() * 1e6) * 1000


def test_scope_and_resource(endings: Endings) -> None:
    span = one_span(endings, "returned")
    assert (span.scope_name, span.scope_version) == (SCOPE, "0.1.0")
    assert span.resource["service.name"] == "haas-media"


def test_returned(endings: Endings) -> None:
    assert without_times(one_span(endings, "returned")) == expected(
        endings,
        "returned",
        name="BackgroundTask.ReturnsTask",
        status=("OK", ""),
        attributes={
            "task.type": "ReturnsTask",
            "task.name": "Return a number",
            "task.status": "Completed",
            "media.number": 7,
            "media.file": "a.mkv",
        },
        events=[("task.started", {}), ("task.completed", {})],
    )


def test_raised(endings: Endings) -> None:
    span = one_span(endings, "raised")
    stacktrace = span.attributes["exception.stacktrace"]
    assert stacktrace.startswith("Traceback (most recent call last):")
    assert 'raise LookupError("no such film: 8")' in stacktrace
    assert without_times(span) == expected(
        endings,
        "raised",
        name="BackgroundTask.RaisesTask",
        status=("ERROR", "no such film: 8"),
        attributes={
            "task.type": "RaisesTask",
            "task.name": "Raise an error",
            "task.status": "Failed",
            "media.number": 8,
            "exception.type": "LookupError",
            "exception.message": "no such film: 8",
            "exception.stacktrace": stacktrace,
        },
        events=[("task.started", {}), ("task.failed", {})],
    )


def test_timed_out(endings: Endings) -> None:
    span = one_span(endings, "timed_out")
    message = "Scope timed out after 1.0 second(s)."
    assert without_times(span) == expected(
        endings,
        "timed_out",
        name="BackgroundTask.TimesOutTask",
        status=("ERROR", message),
        attributes={
            "task.type": "TimesOutTask",
            "task.name": "Take too long",
            "task.status": "Failed",
            "media.number": 9,
            "exception.type": "prefect.task_engine.TaskRunTimeoutError",
            "exception.message": message,
            "exception.stacktrace": span.attributes["exception.stacktrace"],
        },
        events=[("task.started", {}), ("task.failed", {})],
    )
    assert 1000 <= span.attributes["task.duration_ms"] < 10_000


def test_retried_twice_then_returned(endings: Endings) -> None:
    def retry(attempt: int) -> tuple[str, dict[str, Any]]:
        return (
            "task.retrying",
            {
                "task.attempt": attempt,
                "exception.type": "ConnectionError",
                "exception.message": f"attempt {attempt} failed",
            },
        )

    assert without_times(one_span(endings, "retried")) == expected(
        endings,
        "retried",
        name="BackgroundTask.SucceedsAtLastTask",
        status=("OK", ""),
        attributes={
            "task.type": "SucceedsAtLastTask",
            "task.name": "Try three times",
            "task.status": "Completed",
            "media.attempt": 3,
        },
        events=[("task.started", {}), retry(1), retry(2), ("task.completed", {})],
    )


def cancelled(task_type: str, task_name: str, **learnt: Any) -> dict[str, Any]:
    return {
        "name": f"BackgroundTask.{task_type}",
        "status": ("ERROR", "Task was cancelled"),
        "attributes": {
            "task.type": task_type,
            "task.name": task_name,
            "task.status": "Cancelled",
            **learnt,
        },
        "events": [("task.started", {}), ("task.cancelled", {})],
    }


def test_cancelled_and_obeying(endings: Endings) -> None:
    expectation = cancelled("ObeysTask", "Obey a termination", **{"media.progress": 42.5})
    assert without_times(one_span(endings, "obeyed")) == expected(endings, "obeyed", **expectation)


def test_cancelled_while_ignoring_the_signal(endings: Endings) -> None:
    expectation = cancelled("IgnoresTask", "Ignore a termination")
    span = one_span(endings, "ignored")
    assert without_times(span) == expected(endings, "ignored", **expectation)
    assert span.attributes["task.duration_ms"] > 25_000  # SIGKILL came after half a minute


@pytest.mark.parametrize("name", ["obeyed", "ignored"])
def test_cancellation_hooks_are_called_once(endings: Endings, name: str) -> None:
    task_run = endings.task_run(name)
    one_span(endings, name)
    calls = (endings.marks / f"{task_run.id}.cancellation").read_text().splitlines()
    assert [call.rsplit(" ", 1)[0] for call in calls] == [
        f"BackgroundTask {task_run.name} Cancelled"
    ]


def test_killed(endings: Endings) -> None:
    flow_run = endings.api.flow_run(endings.runs["killed"])
    assert flow_run.state is not None
    message = flow_run.state.message
    assert message is not None
    assert message.startswith("Process exited with status code: -9")
    assert without_times(one_span(endings, "killed")) == expected(
        endings,
        "killed",
        name="BackgroundTask.ObeysTask",
        status=("ERROR", message),
        attributes={
            "task.type": "ObeysTask",
            "task.name": "Obey a termination",
            "task.status": "Failed",
            "exception.type": "prefect.exceptions.CrashedRun",
            "exception.message": message,
        },
        events=[("task.started", {}), ("task.failed", {})],
    )


@pytest.mark.parametrize("name", ["returned", "raised", "timed_out", "retried", "obeyed"])
def test_spans_made_in_the_body_hang_under_the_task(endings: Endings, name: str) -> None:
    parent = one_span(endings, name)
    wait_until(lambda: endings.children(name), timeout=20, what=f"the children of {name}")
    children = endings.children(name)
    assert {child.parent_span_id for child in children} == {parent.span_id}
    assert len(children) == (3 if name == "retried" else 1)
    assert all(parent.start_ns <= c.start_ns <= c.end_ns <= parent.end_ns for c in children)


def test_no_other_span_arrived(endings: Endings) -> None:
    task_spans = [s for s in endings.receiver.spans if s.scope_name == SCOPE]
    assert sorted(s.trace_id for s in task_spans) == sorted(r.hex for r in endings.runs.values())
