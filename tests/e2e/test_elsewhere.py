"""Every way a task run can end, in a project that has haas-otel's wheel and nothing else of ours.

On a real server and worker, as a real collector receives it: once with the three lines, and once as
a project that imports plain Prefect, under ``opentelemetry-instrument``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any
from uuid import UUID

import prefect as prefect_itself
import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.e2e.delivery import SCOPE, collecting
from tests.e2e.elsewhere import Elsewhere
from tests.e2e.site import ends_with_its_process
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun, TaskRun

    from tests.e2e.api import Api
    from tests.e2e.prefect_processes import PrefectProcesses
    from tests.received import ReceivedSpan
    from tests.receiver import Protocol

WAYS: dict[str, Protocol] = {"three-lines": "grpc", "no-line": "http/protobuf"}
# Endings that are looked at whole: the run in which each is, and the task's name there.
BY_ITSELF = {
    "returned": "Return a number",
    "raised": "Raise an error",
    "failure": "Return a failure",
    "timed out": "Take too long",
    "retried": "Try three times",
    "exhausted": "Try twice",
}
CANCELLED = ("cancelled", "terminated", "interrupted", "served, cancelled", "ignored")
DIED = ("killed", "nested, killed", "served, killed", "cut off")
ENDED_BY = {"terminated": "system"}
OBEYS = "Obey a termination"
# Since Prefect 3.9 a failed state that a flow returns has it retried. Before, its process reports a
# crash while the server has it wait for a retry: which of the two the worker heeds is open.
RETURNED = ["Failed", "Completed"][
    : 2 if Version(prefect_itself.__version__) >= Version("3.9") else 1
]
RETRIED = ("killed", "cancelled", "failure returned")
# How often is open. One that was reported dead late, as it went on, has been retried once more.
OPEN = RETRIED if RETURNED == ["Failed"] else RETRIED[:2]
TOLD = {
    "never begun": [],
    "nesting": [],  # has a flow run in it, and no task run
    "by themselves": [
        "Return a number: Completed",
        "Remember: Completed",
        "Remember: Completed",  # from Prefect's cache
        "Raise an error: Failed",
        "Return a failure: Failed",
        "Take too long: Failed",
        "Try three times: Completed",
        "Try twice: Failed",
        "Raise an error: Failed",  # for which another never began
    ],
    "failure returned": [f"Fail at first: {each}" for each in RETURNED],
    "parent": ["Start a child: Completed", *["Return a number: Completed"] * 2],
    **{name: [f"{OBEYS}: Cancelled"] for name in CANCELLED},
    **{name: [f"{OBEYS}: Failed"] for name in DIED},
    "ignored": ["Ignore a termination: Cancelled"],
    "cancelled": [f"{OBEYS}: Cancelled", f"{OBEYS}: Completed"],
    "killed": [f"{OBEYS}: Failed", f"{OBEYS}: Completed"],
}

Projects = dict[str, Elsewhere]


@pytest.fixture(scope="module")
def projects(
    api: Api,
    prefect: PrefectProcesses,
    elsewhere: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Projects]:
    """One run of each kind in each way asked for, all brought to their ends at the same time."""
    programs = elsewhere / "bin"
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {call.params.get("project") for call in calls if call is not None}
    with ExitStack() as stack:
        made = {}
        for way in asked & WAYS.keys():
            protocol = WAYS[way]
            folder = tmp_path_factory.mktemp(way)
            collector = collecting(folder, protocol, programs / "python")
            made[way] = Elsewhere(way, api, prefect, stack.enter_context(collector), programs)
        if plain := made.get("no-line"):
            plain.instrument = (str(programs / "opentelemetry-instrument"),)
            plain.extra = {"PLAIN": "1"}
        for project in made.values():
            project.prepare()
        with ThreadPoolExecutor() as threads:
            list(threads.map(Elsewhere.run_all, made.values()))
        yield made


@pytest.fixture(params=WAYS)
def project(projects: Projects, request: pytest.FixtureRequest) -> Elsewhere:
    return projects[request.param]


@dataclass(frozen=True)
class Ending:
    """A task run that has ended, and the span that tells of it."""

    span: ReceivedSpan
    task_run: TaskRun
    flow_run: FlowRun

    @classmethod
    def of(cls, project: Elsewhere, name: str) -> Ending:
        """Return the first of a run, or of those that end by themselves the one of that name."""
        run = "by themselves" if name in BY_ITSELF else name
        wanted = BY_ITSELF.get(name)
        found = project.collector.spans(project.runs[run])
        span = next(s for s in found if wanted in (None, s.attributes["task.name"]))
        task_run = project.api.client.read_task_run(UUID(str(span.attributes["task.id"])))
        return cls(span, task_run, project.api.flow_run(project.runs[run]))


def check(project: Elsewhere, ending: Ending, ended_by: str = "self", **expected: Any) -> None:
    """Compare the span with the contract; times are compared with the run's states apart."""
    span, task_run, flow_run = ending.span, ending.task_run, ending.flow_run
    deployed = {"prefect.deployment.id": str(flow_run.deployment_id)}
    assert {
        "name": span.name,
        "kind": span.kind,
        "status": (span.status_code, span.status_description),
        "attributes": {k: v for k, v in span.attributes.items() if not k.endswith("_ms")},
        "events": [(event.name, event.attributes) for event in span.events],
    } == {
        "kind": "INTERNAL",
        **expected,
        "attributes": {
            "task.id": str(task_run.id),
            "prefect.flow_run.id": str(flow_run.id),
            "prefect.flow_run.name": flow_run.name,
            "prefect.flow_run.url": f"{project.api.ui_url}/v2/runs/flow-run/{flow_run.id}",
            **(deployed if flow_run.deployment_id else {}),
            "prefect.attempt": 1,
            "prefect.ended_by": ended_by,
            **expected["attributes"],
        },
    }


def test_each_task_run_that_began_has_one_span_and_no_other_has(project: Elsewhere) -> None:
    told = {}
    for name, expected in TOLD.items():
        run = project.runs[name]
        count = len(project.api.task_runs(run)) if name in OPEN else len(expected)
        spans = (
            project.collector.wait_for_spans(run, count) if count else project.collector.spans(run)
        )
        each = [f"{s.attributes['task.name']}: {s.attributes['task.status']}" for s in spans]
        told[name] = each[: len(expected)] if name in OPEN else each
    assert told == TOLD
    arrived = project.collector.receiver.spans
    ids = [span.attributes["task.id"] for span in arrived if span.scope_name == SCOPE]
    assert len(ids) == len(set(ids))
    known = {*project.runs.values(), *project.tasks.values()}
    assert {span.trace_id for span in arrived} <= {each.hex for each in known}


@pytest.mark.parametrize("name", [*BY_ITSELF, *CANCELLED, *DIED])
def test_ids_times_and_duration_are_those_of_the_run(project: Elsewhere, name: str) -> None:
    ending = Ending.of(project, name)
    span, task_run = ending.span, ending.task_run
    assert (span.scope_name, span.scope_version) == (SCOPE, "0.1.0")
    assert span.resource["service.name"] == "prefect"
    root = project.runs.get(name) or project.runs["by themselves"]
    assert span.trace_id == root.hex
    assert span.span_id == task_run.id.hex[16:]
    assert span.parent_span_id == ""
    assert task_run.start_time is not None
    assert span.start_ns == round(task_run.start_time.timestamp() * 1e6) * 1000
    assert span.attributes["task.duration_ms"] == (span.end_ns - span.start_ns) / 1e6
    assert isinstance(span.attributes["task.duration_ms"], float)
    assert all(span.start_ns <= event.time_ns <= span.end_ns for event in span.events)
    if name in BY_ITSELF:
        assert task_run.end_time is not None
        assert span.end_ns == round(task_run.end_time.timestamp() * 1e6) * 1000


def test_returned(project: Elsewhere) -> None:
    check(
        project,
        Ending.of(project, "returned"),
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


FAILED = {
    "raised": ("RaisesTask", {"media.number": 8}, "LookupError", "no such film: 8"),
    "failure": ("ReturnsAFailureTask", {}, "prefect.exceptions.FailedRun", "no luck"),
    "timed out": (
        "TimesOutTask",
        {"media.number": 9},
        "prefect.task_engine.TaskRunTimeoutError",
        "Scope timed out after 1.0 second(s).",
    ),
    "exhausted": ("NeverSucceedsTask", {}, "ConnectionError", "no answer"),
}


@pytest.mark.parametrize("name", FAILED)
def test_failed(project: Elsewhere, name: str) -> None:
    task_type, learnt, kind, message = FAILED[name]
    ending = Ending.of(project, name)
    raised = {"exception.type": kind, "exception.message": message}
    stacktrace = str(ending.span.attributes.get("exception.stacktrace"))
    where = {} if name == "failure" else {"exception.stacktrace": stacktrace}
    retrying = [("task.retrying", {"task.attempt": 1, **raised})] if name == "exhausted" else []
    check(
        project,
        ending,
        ended_by="timeout" if name == "timed out" else "self",
        name=f"BackgroundTask.{task_type}",
        status=("ERROR", message),
        attributes={
            "task.type": task_type,
            "task.name": BY_ITSELF[name],
            "task.status": "Failed",
            **learnt,
            **raised,
            **where,
        },
        events=[("task.started", {}), *retrying, ("task.failed", {})],
    )
    if name == "raised":
        assert stacktrace.startswith("Traceback (most recent call last):")
        assert 'raise LookupError("no such film: 8")' in stacktrace
    if name == "timed out":
        assert ending.span.attributes["task.duration_ms"] >= 1000


def test_retried_twice_then_returned(project: Elsewhere) -> None:
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
        project,
        Ending.of(project, "retried"),
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


@pytest.mark.parametrize("name", CANCELLED)
def test_cancelled(project: Elsewhere, name: str) -> None:
    ending = Ending.of(project, name)
    learnt = {"task.type": "ObeysTask", "task.name": OBEYS, "media.progress": 42.5}
    marks = project.collector.folder
    if name == "ignored":  # its process was killed, and nobody knows what it had learnt
        assert not psutil.pid_exists(int((marks / f"{project.runs[name]}.went-on").read_text()))
        learnt = {"task.type": "IgnoresTask", "task.name": "Ignore a termination"}
    check(
        project,
        ending,
        ended_by=ENDED_BY.get(name, "user"),
        name=f"BackgroundTask.{learnt['task.type']}",
        status=("ERROR", "Task was cancelled"),
        attributes={"task.status": "Cancelled", **learnt},
        events=[("task.started", {}), ("task.cancelled", {})],
    )
    if project.way == "no-line":  # Prefect's tasks have no hooks for it
        return
    (file,) = marks.rglob(f"{ending.task_run.id}.cancellation")
    (call,) = file.read_text().splitlines()
    assert call.rsplit(" ", 1)[0] == f"BackgroundTask {ending.task_run.name} Cancelled"


@pytest.mark.parametrize("name", DIED)
def test_killed(project: Elsewhere, name: str) -> None:
    ending = Ending.of(project, name)
    message = ending.span.status_description
    # A nested run's process is that of the outermost, which Prefect sees die.
    outermost = "nesting" if name == "nested, killed" else name
    assert message in project.state_messages(project.runs[outermost])
    if name == "cut off":
        assert "its last sign of life was" in message
    else:
        assert "Process exited with status code: -9" in message
    check(
        project,
        ending,
        ended_by="crash",
        name="BackgroundTask.ObeysTask",
        status=("ERROR", message),
        attributes={
            "task.type": "ObeysTask",
            "task.name": OBEYS,
            "task.status": "Failed",
            "exception.type": "prefect.exceptions.CrashedRun",
            "exception.message": message,
        },
        events=[("task.started", {}), ("task.failed", {})],
    )


@pytest.mark.parametrize("name", RETRIED)
def test_a_flow_run_that_is_retried_has_a_span_for_each_attempt(
    project: Elsewhere, name: str
) -> None:
    spans = project.collector.spans(project.runs[name])
    task_runs = project.api.task_runs(project.runs[name])
    assert {s.attributes["task.id"] for s in spans} == {str(each.id) for each in task_runs}
    assert len(spans) > 1 or RETURNED == ["Failed"]
    assert [s.attributes["prefect.attempt"] for s in spans] == list(range(1, len(spans) + 1))
    links = [[(link.trace_id, link.span_id) for link in span.links] for span in spans]
    assert links == [[], *([(span.trace_id, span.span_id)] for span in spans[:-1])]


def test_task_runs_without_a_flow(project: Elsewhere) -> None:
    told = {}
    for name, task in project.tasks.items():
        (span,) = project.collector.wait_for_spans(task)
        assert span.name == "BackgroundTask.DelayedTask"
        assert span.attributes["task.id"] == str(task)
        told[name] = (span.attributes["task.status"], span.attributes.get("exception.type"))
    assert told == {
        "stopped 5": ("Completed", None),
        "stopped -1": ("Failed", "ValueError"),
        "stopped 0": ("Cancelled", None),
        "killed 0": ("Failed", "prefect.exceptions.CrashedRun"),
    }


@pytest.mark.parametrize("name", ["cut off", "killed 0"])
def test_what_nobody_saw_die_ends_at_its_last_sign_of_life(project: Elsewhere, name: str) -> None:
    (span,) = project.collector.spans(project.runs.get(name) or project.tasks[name])
    assert ends_with_its_process(span, project.died_at[name])
    if name in project.tasks:
        task_run = project.api.client.read_task_run(project.tasks[name])
        assert task_run.state is not None
        assert task_run.state.is_crashed()


def test_child_run_of_a_deployment_hangs_under_the_task_that_ran_it(project: Elsewhere) -> None:
    parent, child, queued = project.collector.spans(project.runs["parent"])
    assert child.parent_span_id == parent.span_id
    assert queued.parent_span_id == parent.span_id


def test_the_waits_of_a_run_add_up_to_its_history(project: Elsewhere) -> None:
    for name in ("by themselves", "terminated", "ignored"):
        span = project.collector.spans(project.runs[name])[0]
        waited = {
            key.removeprefix("prefect.wait.").removesuffix("_ms"): value
            for key, value in span.attributes.items()
            if key.startswith("prefect.wait.")
        }
        states = project.api.client.read_flow_run_states(project.runs[name])
        states = sorted(states, key=lambda state: state.timestamp)
        (began,) = (state.timestamp for state in states if state.is_running())
        taken = next(state.timestamp for state in states if state.is_pending())
        due = states[0].state_details.scheduled_time
        assert due is not None
        history = {"schedule": taken - due, "worker": began - taken}
        assert waited == pytest.approx({k: v.total_seconds() * 1e3 for k, v in history.items()})
        total = span.attributes["prefect.wait_ms"]
        assert total == pytest.approx((began - due).total_seconds() * 1e3)


@pytest.mark.parametrize(
    ("name", "count"),
    [("returned", 1), ("raised", 1), ("timed out", 1), ("retried", 3), ("terminated", 1)],
)
def test_spans_made_in_the_body_hang_under_the_task(
    project: Elsewhere, name: str, count: int
) -> None:
    parent = Ending.of(project, name).span

    def children() -> list[ReceivedSpan]:
        found = project.collector.children(UUID(parent.trace_id))
        return [span for span in found if span.parent_span_id == parent.span_id]

    wait_until(lambda: len(children()) >= count, what=f"the children of {name}")
    assert len(children()) == count
    assert all(parent.start_ns <= c.start_ns <= c.end_ns <= parent.end_ns for c in children())


def test_the_wheel_brings_little_and_takes_no_name_of_others(elsewhere: Path) -> None:
    """In packages and in bytes, beside what Prefect, the SDK and its OTLP exporter bring."""
    (site,) = elsewhere.glob("lib/python*/site-packages")
    found = {canonicalize_name(each.name): each for each in distributions(path=[str(site)])}
    (top,) = {
        file.parts[0] for file in found["haas-otel"].files or [] if ".dist-info" not in str(file)
    }
    assert top == "haas_otel"

    def sizes(*names: str) -> dict[str, int]:
        needed, left = set(), set(names)
        while left:
            name = left.pop()
            needed.add(name)
            for line in found[name].requires or []:
                asked = Requirement(line)
                inner = canonicalize_name(asked.name)
                if inner in found and (
                    asked.marker is None or asked.marker.evaluate({"extra": ""})
                ):
                    left |= {inner} - needed
        return {name: sum(file.size or 0 for file in found[name].files or []) for name in needed}

    plain = sizes("prefect", "opentelemetry-sdk", "opentelemetry-exporter-otlp")
    ours = sizes("haas-otel")
    assert set(ours) > set(plain)
    assert len(ours) <= 1.2 * len(plain)
    assert sum(ours.values()) <= 1.2 * sum(plain.values())
