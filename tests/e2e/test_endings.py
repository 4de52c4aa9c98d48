"""Every way a run can end, on a real server and worker, as a real collector receives it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.e2e.conftest import POOL, PROJECT
from tests.e2e.delivery import SCOPE, Collector, collecting
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, TaskRun

    from tests.e2e.api import Api
    from tests.e2e.prefect_processes import PrefectProcesses
    from tests.received import ReceivedSpan

# The one that ignores its cancellation takes longest: Prefect waits half a minute for it.
GRPC = ("ignored", "obeyed", "killed", "returned", "raised", "timed_out", "retried")
# Of a project that imports nothing of ours.
PLAIN = GRPC
# Sent by the run's own process, as it ends and as it is cancelled, and by another after its death.
HTTP = ("returned", "obeyed", "killed")


@dataclass(frozen=True)
class Ending:
    """A run that has ended, and where it sent its span."""

    api: Api
    id: UUID
    collector: Collector

    @property
    def flow_run(self) -> FlowRun:
        return self.api.flow_run(self.id)

    @property
    def task_run(self) -> TaskRun:
        (task_run,) = self.api.task_runs(self.id)
        return task_run

    @property
    def span(self) -> ReceivedSpan:
        (span,) = self.collector.wait_for_spans(self.id)
        return span


Endings = dict[tuple[str, str], Ending]


@pytest.fixture(scope="module")
def endings(
    api: Api, prefect: PrefectProcesses, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endings]:
    """One run of each kind, all brought to their ends at the same time.

    Those of the plain project have nothing at hand but haas-otel's wheel.
    """
    folder = tmp_path_factory.mktemp
    api.make_pool("instrumented")
    prefect.start_worker(
        "instrumented",
        "instrumented",
        program=[elsewhere / "bin" / "opentelemetry-instrument", elsewhere / "bin" / "prefect"],
        environment={"PLAIN": "1"},
    )
    with (
        collecting(folder("grpc")) as grpc,
        collecting(folder("http"), "http/protobuf") as http,
        collecting(folder("plain")) as plain,
    ):
        wanted = [*((grpc, "grpc", name) for name in GRPC)]
        wanted += [*((http, "http/protobuf", name) for name in HTTP)]
        wanted += [*((plain, "plain", name) for name in PLAIN)]
        runs: Endings = {}
        for collector, way, name in wanted:
            function = "obeyed" if name == "killed" else name
            pool, kind = ("instrumented", "plain") if way == "plain" else (POOL, "test")
            deployment = api.deploy(PROJECT, f"endings.py:{function}", pool, kind)
            run = api.run(deployment, environment=collector.environment)
            runs[way, name] = Ending(api, run, collector)
        for (_, name), run in runs.items():
            if name == "killed":
                os.kill(run.collector.pid_when_running(api, run.id), signal.SIGKILL)
            elif name in ("ignored", "obeyed"):
                run.collector.pid_when_running(api, run.id)
                api.cancel(run.id)
        for run in runs.values():
            api.wait_for_end(run.id)
        yield runs


def each(*names: str) -> pytest.MarkDecorator:
    """Ask of every run of these endings, whichever way its span went out."""
    found = [("grpc", name) for name in GRPC if name in names]
    found += [("http/protobuf", name) for name in HTTP if name in names]
    found += [("plain", name) for name in PLAIN if name in names]
    return pytest.mark.parametrize("which", found, ids=" ".join)


@pytest.fixture
def ending(endings: Endings, which: tuple[str, str]) -> Ending:
    return endings[which]


def check(ending: Ending, **expected: Any) -> None:
    """Compare the span with the contract; times are compared with the run's states apart."""
    span, task_run, flow_run = ending.span, ending.task_run, ending.flow_run
    assert {
        "name": span.name,
        "kind": span.kind,
        "status": (span.status_code, span.status_description),
        "attributes": {k: v for k, v in span.attributes.items() if k != "task.duration_ms"},
        "events": [(event.name, event.attributes) for event in span.events],
    } == {
        "kind": "INTERNAL",
        **expected,
        "attributes": {
            "task.id": str(task_run.id),
            "prefect.flow_run.id": str(flow_run.id),
            "prefect.flow_run.name": flow_run.name,
            "prefect.flow_run.url": f"{ending.api.ui_url}/v2/runs/flow-run/{flow_run.id}",
            "prefect.deployment.id": str(flow_run.deployment_id),
            "prefect.attempt": 1,
            **expected["attributes"],
        },
    }


@each(*GRPC)
def test_ids_times_and_duration_are_those_of_the_run(ending: Ending, which: Any) -> None:
    span, task_run = ending.span, ending.task_run
    assert (span.scope_name, span.scope_version) == (SCOPE, "0.1.0")
    assert span.resource["service.name"] == "prefect"
    assert span.trace_id == ending.id.hex
    assert span.span_id == task_run.id.hex[16:]
    assert span.parent_span_id == ""
    assert task_run.start_time is not None
    assert span.start_ns == round(task_run.start_time.timestamp() * 1e6) * 1000
    assert span.attributes["task.duration_ms"] == (span.end_ns - span.start_ns) / 1e6
    assert isinstance(span.attributes["task.duration_ms"], float)
    assert all(span.start_ns <= event.time_ns <= span.end_ns for event in span.events)
    if which[1] in ("returned", "raised", "timed_out", "retried"):
        assert task_run.end_time is not None
        assert span.end_ns == round(task_run.end_time.timestamp() * 1e6) * 1000


@each("returned")
def test_returned(ending: Ending) -> None:
    check(
        ending,
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


@each("raised")
def test_raised(ending: Ending) -> None:
    stacktrace = ending.span.attributes["exception.stacktrace"]
    assert stacktrace.startswith("Traceback (most recent call last):")
    assert 'raise LookupError("no such film: 8")' in stacktrace
    check(
        ending,
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


@each("timed_out")
def test_timed_out(ending: Ending) -> None:
    message = "Scope timed out after 1.0 second(s)."
    attributes = ending.span.attributes
    check(
        ending,
        name="BackgroundTask.TimesOutTask",
        status=("ERROR", message),
        attributes={
            "task.type": "TimesOutTask",
            "task.name": "Take too long",
            "task.status": "Failed",
            "media.number": 9,
            "exception.type": "prefect.task_engine.TaskRunTimeoutError",
            "exception.message": message,
            "exception.stacktrace": attributes["exception.stacktrace"],
        },
        events=[("task.started", {}), ("task.failed", {})],
    )
    assert attributes["task.duration_ms"] >= 1000


@each("retried")
def test_retried_twice_then_returned(ending: Ending) -> None:
    def retry(attempt: int) -> tuple[str, dict[str, Any]]:
        return (
            "task.retrying",
            {
                "task.attempt": attempt,
                "exception.type": "ConnectionError",
                "exception.message": f"attempt {attempt} failed",
            },
        )

    check(
        ending,
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


@each("obeyed", "ignored")
def test_cancelled(ending: Ending, which: Any) -> None:
    learnt = {
        "task.type": "ObeysTask",
        "task.name": "Obey a termination",
        "media.progress": 42.5,
    }
    marks = ending.collector.folder
    if which[1] == "ignored":  # its process was killed, and nobody knows what it had learnt
        assert not psutil.pid_exists(int((marks / f"{ending.id}.went-on").read_text()))
        learnt = {"task.type": "IgnoresTask", "task.name": "Ignore a termination"}
    check(
        ending,
        name=f"BackgroundTask.{learnt['task.type']}",
        status=("ERROR", "Task was cancelled"),
        attributes={"task.status": "Cancelled", **learnt},
        events=[("task.started", {}), ("task.cancelled", {})],
    )
    if which[0] == "plain":  # Prefect's tasks have no hooks for it
        return
    (call,) = (marks / f"{ending.task_run.id}.cancellation").read_text().splitlines()
    assert call.rsplit(" ", 1)[0] == f"BackgroundTask {ending.task_run.name} Cancelled"


@each("killed")
def test_killed(ending: Ending) -> None:
    state = ending.flow_run.state
    assert state is not None
    message = str(state.message)
    assert message.startswith("Process exited with status code: -9")
    check(
        ending,
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


@each("returned", "raised", "timed_out", "retried", "obeyed")
def test_spans_made_in_the_body_hang_under_the_task(ending: Ending, which: Any) -> None:
    parent = ending.span
    count = 3 if which[1] == "retried" else 1
    children = lambda: ending.collector.children(ending.id)  # noqa: E731
    wait_until(lambda: len(children()) >= count, what=f"the children of {which}")
    assert [child.parent_span_id for child in children()] == [parent.span_id] * count
    assert all(parent.start_ns <= c.start_ns <= c.end_ns <= parent.end_ns for c in children())


def test_no_other_span_arrived(endings: Endings) -> None:
    for ending in endings.values():
        assert len(ending.collector.spans(ending.id)) == 1
    arrived = {s.trace_id for e in endings.values() for s in e.collector.receiver.spans}
    assert arrived == {ending.id.hex for ending in endings.values()}
