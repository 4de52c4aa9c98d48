"""Each way a task run can end in its own process, in every way a task can be run."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import prefect
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits
from packaging.version import Version
from prefect.cache_policies import INPUTS
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import CrashedRun, TerminationSignal
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
)
from prefect.types._datetime import now

from haas_otel import _prefect, flow, hooks, records, server, settings, span, task

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    from haas_otel.delivery.disk import SharedDisk
    from tests.haas_otel.conftest import Told
    from tests.haas_otel.given import Client, LogCapture, MonkeyPatch


def learn(**attributes: Any) -> None:
    trace.get_current_span().set_attributes(attributes)
    with trace.get_tracer("body").start_as_current_span("in the body"):
        pass


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def run(body: Callable[[], Any], *, how: str, **options: Any) -> Any:
    """Run a body as a task's, in one of the ways that tasks are run; return the flow's state."""
    if how.startswith("async"):

        @task(name="The task", **options)
        async def the_task() -> Any:
            await asyncio.sleep(0)
            return body()

        @flow
        async def the_flow() -> Any:
            if how == "async":
                return await the_task()
            return the_task.submit().result()

        return asyncio.run(the_flow(return_state=True))

    @task(name="The task", **options)
    def the_task_sync() -> Any:
        return body()

    @flow
    def the_flow_sync() -> Any:
        if how == "submitted":
            return the_task_sync.submit().result()
        return the_task_sync()

    return the_flow_sync(return_state=True)


HOW = pytest.mark.parametrize("how", ["direct", "submitted", "async", "async submitted"])
# Of what does not depend on where its engine runs.
ENGINES = pytest.mark.parametrize("how", ["direct", "async"])


@HOW
def test_returned(told: Told, how: str) -> None:
    state = run(lambda: learn(**{"media.files": 3}), how=how)
    assert state.is_completed()
    span = told.one
    assert (span.kind.name, span.instrumentation_scope.name) == (
        "INTERNAL",
        "Haas.Media.BackgroundTasks",
    )
    assert span.context.trace_id == state.state_details.flow_run_id.int
    assert span.attributes["prefect.flow_run.id"] == str(state.state_details.flow_run_id)
    assert span.status.status_code.name == "OK"
    assert span.status.description is None
    assert span.attributes["task.status"] == "Completed"
    assert span.attributes["media.files"] == 3
    assert span.attributes["task.duration_ms"] == (span.end_time - span.start_time) / 1e6
    assert events(span) == ["task.started", "task.completed"]
    name = span.name
    assert told.tree() == [f"{name} Completed", "  in the body"]


@HOW
def test_raised(told: Told, how: str) -> None:
    def body() -> None:
        # The SDK keeps the first Ok that a span is given; here the end counts.
        trace.get_current_span().set_status(trace.StatusCode.OK)
        raise LookupError("no such film")

    assert run(body, how=how).is_failed()
    span = told.one
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "no such film")
    assert span.attributes["task.status"] == "Failed"
    assert span.attributes["exception.type"] == "LookupError"
    assert span.attributes["exception.message"] == "no such film"
    assert 'raise LookupError("no such film")' in span.attributes["exception.stacktrace"]
    assert events(span) == ["task.started", "task.failed"]


def test_an_exception_without_a_message_is_named(told: Told) -> None:
    def body() -> None:
        raise ValueError

    run(body, how="direct")
    assert told.one.status.description == "ValueError"


@ENGINES
def test_failed_state_returned(told: Told, how: str) -> None:
    run(lambda: Failed(message="the disk is full"), how=how)
    span = told.one
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "the disk is full")
    assert span.attributes["exception.type"] == "prefect.exceptions.FailedRun"
    assert "exception.stacktrace" not in span.attributes


@ENGINES
@pytest.mark.parametrize(
    ("whose", "states", "status"),
    [
        ("its own", [Completed], "Completed"),
        ("its own", [Paused], "Completed"),  # its body has done what it wanted
        ("its own", [Pending], "Completed"),
        ("its own", [Crashed], "Cancelled"),
        ("its own", [Cancelled], "Cancelled"),
        # As a deployment's: Prefect makes one of its own of it.
        ("another's", [Completed], "Completed"),
        ("another's", [Paused], "Completed"),
        ("another's", [Pending], "Failed"),
        ("another's", [Scheduled], "Failed"),
        ("another's", [Crashed], "Failed"),
        ("another's", [Cancelled], "Cancelled"),
        # Of several one decides.
        ("its own", [Completed, Completed], "Completed"),
        ("its own", [Completed, Paused], "Completed"),
        ("its own", [Completed, Pending], "Failed"),
        ("its own", [Completed, Crashed], "Failed"),
        ("its own", [Completed, Paused, Cancelled], "Cancelled"),
    ],
)
def test_a_state_returned(told: Told, how: str, whose: str, states: Any, status: str) -> None:
    """For most of these Prefect calls no hook."""
    called: list[tuple[str, bool]] = []

    def hook(task: Any, task_run: Any, state: Any) -> None:
        called.append((state.name, records.ENDED in task_run.labels))

    def body() -> Any:
        time.sleep(0.05)
        made = [state() for state in states]
        if whose == "another's":
            made[0].state_details.flow_run_id = uuid4()
        return made if len(made) > 1 else made[0]

    run(body, how=how, on_cancellation=[hook])
    assert told.one.attributes["task.status"] == status
    assert told.one.attributes["prefect.ended_by"] == "self"
    assert told.one.attributes["task.duration_ms"] >= 50
    assert called == ([("Cancelled", True)] if status == "Cancelled" else [])


def test_timed_out(told: Told) -> None:
    def body() -> None:
        for _ in range(3000):
            time.sleep(0.01)  # a long sleep would not be interrupted where a thread watches

    run(body, how="direct", timeout_seconds=0.2)
    span = told.one
    assert span.attributes["task.status"] == "Failed"
    assert span.attributes["exception.type"] == "prefect.task_engine.TaskRunTimeoutError"
    assert events(span) == ["task.started", "task.failed"]


def test_the_flow_around_its_own_took_too_long(told: Told) -> None:
    @task
    async def waits() -> None:
        await asyncio.sleep(60)

    @flow
    async def inner() -> None:
        await waits()

    @flow(timeout_seconds=15)  # in which the inner one has begun on a busy machine, too
    async def outer() -> None:
        await inner()

    assert asyncio.run(outer(return_state=True)).name == "TimedOut"
    assert told.one.attributes["task.status"] == "Cancelled"
    assert told.one.attributes["prefect.ended_by"] == "timeout"


def test_the_task_around_its_own_took_too_long(told: Told) -> None:
    began = []

    @task
    async def waits() -> None:
        began.append(len(told.task_spans))
        await asyncio.sleep(60)

    @task
    async def around() -> None:
        await waits()

    for seconds in (0.3, 3, 30):  # on a busy machine it may be over before the inner one begins
        with pytest.raises(TimeoutError):
            asyncio.run(around.with_options(timeout_seconds=seconds)())
        if began:
            break
    spans = told.task_spans[began[0] :]
    ends = [(s.attributes["task.type"], s.attributes["prefect.ended_by"]) for s in spans]
    assert ends == [("AroundTask", "timeout"), ("WaitsTask", "timeout")]


@HOW
@pytest.mark.parametrize(
    ("failing", "delay", "status"), [(2, 0, "Completed"), (2, 0.1, "Completed"), (3, 0, "Failed")]
)
def test_retried(told: Told, how: str, failing: int, delay: float, status: str) -> None:
    attempts = []

    def body() -> None:
        attempts.append(1)
        if len(attempts) <= failing:
            raise ConnectionError(f"attempt {len(attempts)}")

    run(body, how=how, retries=2, retry_delay_seconds=delay)
    span = told.one
    assert span.attributes["task.status"] == status
    assert span.status.description == (None if status == "Completed" else "attempt 3")
    last = f"task.{status.lower()}"
    assert events(span) == ["task.started", "task.retrying", "task.retrying", last]
    assert [dict(event.attributes) for event in span.events[1:3]] == [
        {
            "task.attempt": n,
            "exception.type": "ConnectionError",
            "exception.message": f"attempt {n}",
        }
        for n in (1, 2)
    ]


def test_retried_by_a_returned_state(told: Told) -> None:
    states = [Failed(message="not yet"), Completed()]
    run(lambda: states.pop(0), how="direct", retries=1)
    retry = told.one.events[1]
    assert dict(retry.attributes) == {
        "task.attempt": 1,
        "exception.type": "prefect.exceptions.FailedRun",
        "exception.message": "not yet",
    }


async def _never(task: Any, task_run: Any, state: Any) -> bool:
    return False


class _Never:
    async def __call__(self, task: Any, task_run: Any, state: Any) -> bool:
        return False


_RETURNS_A_COROUTINE = pytest.param(
    lambda *given: _never(*given),
    marks=pytest.mark.xfail(
        Version(prefect.__version__) < Version("3.9"),
        reason="Prefect did not wait for it then",
        strict=True,
    ),
    id="returns a coroutine",
)


@ENGINES
@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(lambda *_: False, id="plain"),
        _RETURNS_A_COROUTINE,
        pytest.param(_never, id="coroutine function"),
        pytest.param(_Never(), id="object"),
    ],
)
def test_the_users_retry_condition_decides(told: Told, how: str, condition: Any) -> None:
    runs = []

    def body() -> None:
        runs.append(1)
        raise ValueError("final")

    run(body, how=how, retries=3, retry_condition_fn=condition)
    assert len(runs) == 1
    assert events(told.one) == ["task.started", "task.failed"]


def test_cached(told: Told) -> None:
    @task(cache_policy=INPUTS, persist_result=True)
    def cached(number: float) -> float:
        return number

    @flow
    def twice() -> None:
        number = time.time()
        cached(number)
        assert cached(number, return_state=True).name == "Cached"

    twice()
    assert [s.attributes["task.status"] for s in told.task_spans] == ["Completed"] * 2


@pytest.mark.parametrize(
    ("interruption", "by"),
    [
        (KeyboardInterrupt(), "user"),
        (asyncio.CancelledError(), "self"),
        # As of a signal that strikes in what a group of coroutines does.
        (BaseExceptionGroup("", [BaseExceptionGroup("", [TerminationSignal(15)])]), "system"),
        # As of a run whose lease Prefect has lost.
        (type("CancelledError", (asyncio.CancelledError,), {})(), "system"),
    ],
)
@ENGINES
def test_interrupted(told: Told, how: str, interruption: BaseException, by: str) -> None:
    called: list[tuple[str, str, str, bool]] = []

    def body() -> None:
        learn(**{"media.progress": 12.5})
        raise interruption

    def hook(task: Any, task_run: Any, state: Any) -> None:
        shown = records.ENDED in task_run.labels
        called.append((task.name, task_run.name[:8], state.name, shown))

    with pytest.raises(BaseException):  # noqa: B017, PT011 - each engine re-raises in its own way
        run(body, how=how, on_cancellation=[hook]).result()
    span = told.one
    assert (span.status.status_code.name, span.status.description) == (
        "ERROR",
        "Task was cancelled",
    )
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["prefect.ended_by"] == by
    assert span.attributes["media.progress"] == 12.5
    assert not [key for key in span.attributes if key.startswith("exception")]
    assert events(span) == ["task.started", "task.cancelled"]
    assert called == [("The task", "The task", "Cancelled", True)]


@pytest.mark.parametrize("of_the_flow", [True, False])
@pytest.mark.parametrize(
    ("how", "by"), [("cancel", "self"), (signal.SIGINT, "user"), (signal.SIGTERM, "system")]
)
def test_who_cancels_a_coroutine(
    told: Told, monkeypatch: MonkeyPatch, how: Any, by: str, of_the_flow: bool
) -> None:
    """It hears of all of these by the same exception."""
    # Prefect sends what has ended its flow on to whoever handled it before.
    before = signal.signal(signal.SIGTERM, lambda *_: None)

    @task
    async def waits() -> None:
        if how == "cancel":
            asyncio.get_running_loop().call_later(0.1, asyncio.current_task().cancel)
        else:
            threading.Timer(0.1, os.kill, (os.getpid(), how)).start()
        await asyncio.sleep(60)

    @flow
    async def around() -> None:
        await (waits() if of_the_flow else asyncio.create_task(waits()))

    try:
        with suppress(BaseException):
            asyncio.run(around())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told.one.attributes["task.status"] == "Cancelled"
    assert told.one.attributes["prefect.ended_by"] == by


def cancel(monkeypatch: MonkeyPatch, before: Callable[[], Any]) -> None:
    """Run a body that is interrupted, by a signal that its runner says is a cancellation."""
    monkeypatch.setattr(_prefect, "is_cancelled_by_its_runner", lambda: True)

    def body() -> None:
        before()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(body, how="direct").result()


@pytest.mark.parametrize(("label", "by"), [("another", "user"), (records.STOPPED, "system")])
def test_who_had_a_run_cancelled_is_asked_of_prefect(
    told: Told, client: Client, monkeypatch: MonkeyPatch, label: str, by: str
) -> None:
    def labels() -> None:
        run_id = FlowRunContext.get().flow_run.id
        client.update_flow_run_labels(run_id, {label: "The worker w"})

    cancel(monkeypatch, labels)
    assert told.one.attributes["prefect.ended_by"] == by


def test_a_second_signal_strikes_while_prefect_is_asked(
    told: Told, monkeypatch: MonkeyPatch
) -> None:
    """As of somebody who presses Ctrl-C again while the server does not answer."""

    def interrupted(_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(server, "who_cancelled", interrupted)
    with suppress(asyncio.CancelledError):
        cancel(monkeypatch, lambda: learn(**{"media.files": 3}))
    assert told.one.attributes["task.status"] == "Cancelled"
    assert told.one.attributes["prefect.ended_by"] == "user"
    assert told.one.attributes["media.files"] == 3


@pytest.mark.parametrize(("whose", "by"), [("another's", "user"), ("its own", "system")])
def test_what_the_system_stops_is_known_without_the_server(
    told: Told, disk: SharedDisk, monkeypatch: MonkeyPatch, whose: str, by: str
) -> None:
    """The server was slow when the run was to be labelled, and answers its process at once."""
    stopped: list[UUID] = []

    def stops() -> None:
        run_id = FlowRunContext.get().flow_run.id
        stopped.append(run_id if whose == "its own" else uuid4())
        disk.begin(records.STOP(stopped[0]), records.of_flow(stopped[0], time.time_ns()))

    cancel(monkeypatch, stops)
    disk.end(records.STOP(stopped[0]))
    assert told.one.attributes["prefect.ended_by"] == by


@pytest.mark.parametrize("exit_", [SystemExit, GeneratorExit, CrashedRun])
def test_exit_is_a_failure_of_the_task(told: Told, exit_: type[BaseException]) -> None:
    """And so is the crash of another run, of which its body has asked for the result."""

    def body() -> None:
        raise exit_("cannot go on")

    with pytest.raises(exit_):
        run(body, how="direct").result()
    assert str(told.one.attributes["exception.type"]).endswith(exit_.__name__)
    assert told.one.status.description == "cannot go on"
    assert told.one.attributes["prefect.ended_by"] == "self"


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("mute")


class MuteTraceError(SyntaxError):
    text, lineno, offset = "x", 1, "no number"  # type: ignore[assignment]


class AnsweredError(Exception):
    result = "a field of its own, as Prefect's records of results have one"


@pytest.mark.parametrize("kind", [MuteError, MuteTraceError, AnsweredError])
def test_an_exception_that_cannot_say_what_it_is(told: Told, kind: type[Exception]) -> None:
    raised = [kind()]

    def body() -> None:
        if raised:
            raise raised.pop()

    assert run(body, how="direct", retries=1).is_completed()
    assert events(told.one) == ["task.started", "task.retrying", "task.completed"]
    assert str(told.one.events[1].attributes["exception.type"]).endswith(kind.__name__)


@pytest.mark.usefixtures("interrupted_while_it_waits")
def test_interrupted_while_waiting_for_a_retry(told: Told) -> None:
    def body() -> None:
        learn(**{"media.files": 1})
        raise ConnectionError("refused")

    with pytest.raises(KeyboardInterrupt):
        run(body, how="direct", retries=1, retry_delay_seconds=60)
    span = told.one
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["media.files"] == 1
    assert events(span) == ["task.started", "task.retrying", "task.cancelled"]


@pytest.mark.usefixtures("interrupted_while_it_waits")
def test_interrupted_while_waiting_for_a_retry_in_a_process_that_goes_on(told: Told) -> None:
    @task(retries=1, retry_delay_seconds=60)
    def waits() -> None:
        hooks.settle_others()  # as is done every few seconds while a run goes on
        raise ConnectionError("refused")

    with pytest.raises(KeyboardInterrupt):
        waits()
    hooks.settle_others()
    assert told.one.attributes["task.status"] == "Cancelled"
    assert events(told.one) == ["task.started", "task.retrying", "task.cancelled"]


def test_a_task_called_while_an_interruption_is_handled_is_not_interrupted(told: Told) -> None:
    @task
    def clean_up() -> str:
        return "cleaned"

    @flow
    def careful() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            clean_up()

    careful()
    assert told.one.attributes["task.status"] == "Completed"


def test_never_started(told: Told) -> None:
    @task
    def fails() -> None:
        raise ValueError("upstream")

    @task
    def follows(value: Any) -> None:
        raise AssertionError("never called")

    @flow
    def chain() -> Any:
        return follows.submit(fails.submit())

    chain(return_state=True)
    assert [s.attributes["task.type"] for s in told.task_spans] == ["FailsTask"]


def test_mapped(told: Told) -> None:
    @task
    def double(number: int) -> int:
        trace.get_current_span().set_attribute("media.number", number)
        return number * 2

    @flow
    def mapped() -> list[int]:
        return double.map([1, 2, 3]).result()

    assert mapped() == [2, 4, 6]
    spans = told.task_spans
    assert sorted(s.attributes["media.number"] for s in spans) == [1, 2, 3]
    assert len({s.context.span_id for s in spans}) == 3
    assert len({s.context.trace_id for s in spans}) == 1


@pytest.mark.parametrize("count", [110, 127, 300])
def test_a_body_that_sets_much_drops_nothing_of_the_contract(told: Told, count: int) -> None:
    """The SDK drops the oldest, beyond 128 attributes and 128 events."""

    def body() -> None:
        for number in range(count):
            trace.get_current_span().set_attribute(f"media.{number}", number)
            trace.get_current_span().add_event(f"media.{number}")
        if TaskRunContext.get().task_run.run_count == 1:
            raise ConnectionError

    run(body, how="direct", task_type="ScanTask", retries=1)
    span = told.one
    kept = {key: value for key, value in span.attributes.items() if key.startswith("task.")}
    assert kept == {
        "task.id": kept["task.id"],
        "task.type": "ScanTask",
        "task.name": "The task",
        "task.status": "Completed",
        "task.duration_ms": (span.end_time - span.start_time) / 1e6,
    }
    assert int(str(kept["task.id"]).replace("-", ""), 16) & (1 << 64) - 1 == span.context.span_id
    own = [event for event in span.events if event.name.startswith("task.")]
    assert [event.name for event in own] == ["task.started", "task.retrying", "task.completed"]
    assert [event.timestamp for event in own[::2]] == [span.start_time, span.end_time]


@ENGINES
def test_the_function_of_another_task_called_in_a_body_is_a_part_of_it(
    told: Told, how: str
) -> None:
    @task
    def inner() -> Any:
        learn()
        return Cancelled()

    def body() -> str:
        with trace.get_tracer("body").start_as_current_span("phase"):
            inner.fn()
        learn(**{"media.files": 3})
        return "done"

    assert run(body, how=how).is_completed()
    assert told.one.attributes["task.status"] == "Completed"
    assert told.one.attributes["media.files"] == 3
    assert told.tree() == [
        f"{told.one.name} Completed",
        "  phase",
        "    in the body",
        "  in the body",
    ]


def test_generator(told: Told) -> None:
    @task
    def count() -> Any:
        yield 1
        yield 2

    @flow
    def counting() -> list[int]:
        return list(count())

    assert counting() == [1, 2]
    assert told.one.attributes["task.status"] == "Completed"


def test_nested_tasks_and_flows_make_a_tree(told: Told) -> None:
    @task(task_type="InnerWork")
    def inner() -> None:
        learn()

    @flow
    def nested() -> None:
        inner()

    @task
    def outer() -> None:
        inner()
        nested()

    @flow
    def top() -> None:
        with trace.get_tracer("application").start_as_current_span("phase"):
            inner()
        outer()

    top()
    assert told.tree() == [
        "phase",
        "  BackgroundTask.InnerWork Completed",
        "    in the body",
        "BackgroundTask.OuterTask Completed",
        "  BackgroundTask.InnerWork Completed",
        "    in the body",
        "  BackgroundTask.InnerWork Completed",
        "    in the body",
    ]


def test_without_a_flow(told: Told) -> None:
    @task
    def alone() -> None:
        learn()

    alone()
    span = told.one
    assert f"{span.context.trace_id:032x}" == str(span.attributes["task.id"]).replace("-", "")
    prefects = [key for key in span.attributes if key.startswith("prefect.")]
    assert prefects == ["prefect.ended_by"]


def test_the_users_own_hooks_run_too(told: Told) -> None:
    order: list[str] = []

    @task(
        on_running=[lambda t, r, s: order.append(f"running, live {r.id in hooks.live}")],
        on_completion=[lambda t, r, s: order.append("completed")],
    )
    def hooked() -> None:
        order.append("body")

    hooked()
    assert order == ["running, live True", "body", "completed"]


def test_a_failing_cancellation_hook_is_logged(told: Told, caplog: LogCapture) -> None:
    def broken(task: Any, task_run: Any, state: Any) -> None:
        raise ValueError("hook is broken")

    async def fine(task: Any, task_run: Any, state: Any) -> None:
        await asyncio.sleep(0)

    @task
    def interrupted() -> None:
        raise KeyboardInterrupt

    interrupted.on_cancellation(broken)
    interrupted.on_cancellation(fine)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert told.one.attributes["task.status"] == "Cancelled"
    text = caplog.text
    assert "Running hook 'broken' in response to entering state 'Cancelled'" in text
    assert "An error was encountered while running hook 'broken'" in text
    assert "Hook 'fine' finished running successfully" in text


def test_a_cancellation_hook_that_waits_holds_the_loop_of_its_task_up_by_nothing(
    told: Told,
) -> None:
    said: list[str] = []

    @task
    async def interrupted() -> None:
        raise asyncio.CancelledError

    @flow
    async def around() -> None:
        going_on = asyncio.Event()

        async def hook(task: Any, task_run: Any, state: Any) -> None:
            asyncio.get_running_loop().call_soon(going_on.set)
            await asyncio.wait_for(going_on.wait(), 60)  # of this loop, as a client of theirs is
            said.append(state.name)

        with suppress(asyncio.CancelledError):
            await interrupted.with_options(on_cancellation=[hook])()

    asyncio.run(around())
    assert said == ["Cancelled"]
    assert told.one.attributes["task.status"] == "Cancelled"


def test_a_flow_run_can_be_copied_and_sent_elsewhere(told: Told) -> None:
    @task
    def first() -> None: ...

    @flow
    def copies() -> dict[str, Any]:
        first()
        run = FlowRunContext.get().flow_run
        return dict(pickle.loads(pickle.dumps(copy.deepcopy(run))).labels)

    assert copies()
    assert told.one.attributes["task.status"] == "Completed"


@pytest.mark.parametrize(
    ("address", "api", "url"),
    [
        (None, "http://127.0.0.1:4200/api", "http://127.0.0.1:4200/v2/runs/flow-run/"),
        (
            None,
            "https://api.prefect.cloud/api/accounts/1/workspaces/2",
            "https://app.prefect.cloud/account/1/workspace/2/runs/flow-run/",
        ),
        ("https://prefect.example/ui/", None, "https://prefect.example/ui/runs/flow-run/"),
        (None, None, None),
    ],
)
def test_the_page_of_the_flow_run(
    told: Told, address: str | None, api: str | None, url: str | None
) -> None:
    flow_run = FlowRun(flow_id=uuid4(), name="a run", run_count=1)
    task_run = TaskRun(
        task_key="a", dynamic_key="0", flow_run_id=flow_run.id, start_time=now("UTC")
    )
    span.introduce(task_run, flow_run, task_type="ScanTask", task_name="A scan")
    with temporary_settings({PREFECT_UI_URL: address, PREFECT_API_URL: api}):
        span.start(span.run_of(task_run, flow_run)).end()
    expected = f"{url}{flow_run.id}" if url else None
    assert told.one.attributes.get("prefect.flow_run.url") == expected


def test_our_own_hooks_are_not_logged(told: Told, caplog: LogCapture) -> None:
    run(lambda: None, how="direct", on_completion=[lambda t, r, s: None])
    said = [r.getMessage() for r in caplog.records if r.name.startswith("prefect.task_runs")]
    assert any("Running hook '<lambda>'" in line for line in said)
    assert not any("haas_otel" in line for line in said)


def test_a_body_cannot_undo_the_contract(told: Told) -> None:
    """It ends, renames and tags the current span, as instrumentation of its own would."""

    def body() -> None:
        current = trace.get_current_span()
        with trace.use_span(current, end_on_exit=True), suppress(ValueError):
            raise ValueError("handled")
        current.update_name("GET /films")
        current.set_attributes({"exception.type": "ValueError", "media.files": 3})
        current.set_attribute("task.status", "Failed")
        current.record_exception(ValueError("handled"))
        current.add_event("task.failed")
        current.add_event("media.found", {"media.files": 3})
        current.set_attribute(3, "no key")  # type: ignore[arg-type]
        assert current.is_recording()
        learn(**{"media.late": True})

    state = run(body, how="direct")
    assert told.one.name == "BackgroundTask.TheTaskSyncTask"
    assert told.one.attributes["task.status"] == "Completed"
    assert told.one.attributes["media.files"] == 3
    assert told.one.attributes["media.late"] is True
    assert not [key for key in told.one.attributes if key.startswith("exception")]
    assert events(told.one) == ["task.started", "media.found", "task.completed"]
    assert state.is_completed()


@pytest.mark.parametrize("state", [Running, Scheduled, AwaitingRetry])
@ENGINES
def test_a_state_returned_with_which_prefect_goes_on(told: Told, how: str, state: Any) -> None:
    """It calls the body again: only then the run ends."""
    states = [state]

    def body() -> Any:
        if states:
            return states.pop()()
        raise LookupError

    run(body, how=how)
    assert told.one.attributes["exception.type"] == "LookupError"
    assert events(told.one) == ["task.started", "task.failed"]


@pytest.mark.parametrize(("is_async", "kept"), [(False, True), (False, False), (True, True)])
def test_a_generator_that_nobody_exhausts(told: Told, is_async: bool, kept: bool) -> None:
    held: list[Any] = []
    if is_async:

        @task
        async def frames() -> Any:
            yield 1
            yield 2

        @flow
        async def looks_at_one_later() -> None:
            found = frames()
            held.append(found)
            assert await anext(found) == 1

        asyncio.run(looks_at_one_later())
    else:

        @task
        def frames_sync() -> Any:
            yield 1
            yield 2

        @flow
        def looks_at_one() -> None:
            found = frames_sync()
            held.append(found)
            assert next(found) == 1
            time.sleep(0.1)
            if not kept:
                held.pop().close()

        looks_at_one()
        assert told.one.attributes["task.duration_ms"] >= 100
    assert told.one.attributes["task.status"] == "Completed"
    held.clear()
    gc.collect()  # not when the process ends: Prefect would start a server then


def test_a_generator_that_is_closed_after_its_flow_run(told: Told) -> None:
    """Prefect may then call the hook of a running task once more, by the order of the closing."""
    called: list[Any] = []
    held: list[Any] = []

    @task(on_running=[lambda *given: called.append(given)])
    def frames() -> Any:
        yield 1
        yield 2

    @flow
    def looks_at_one() -> None:
        held.append(frames())
        assert next(held[0]) == 1

    looks_at_one()
    hooks.haas_otel_on_running(*called[0])
    assert hooks.live == {}
    assert told.one.attributes["task.status"] == "Completed"
    held.clear()
    gc.collect()  # not within some later call of Prefect's, whose lock its end would wait for


def test_a_clock_that_is_set_back(told: Told, monkeypatch: MonkeyPatch) -> None:
    attempts: list[int] = []

    def body() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            before = time.time_ns()
            monkeypatch.setattr(time, "time_ns", lambda: before - 3600 * 1_000_000_000)
            raise ConnectionError("refused")

    run(body, how="direct", retries=1)
    assert events(told.one) == ["task.started", "task.retrying", "task.completed"]
    moments = [event.timestamp for event in told.one.events]
    assert [told.one.start_time, told.one.end_time] == [moments[0], moments[-1]]
    assert moments == sorted(moments)


def test_what_is_said_of_a_failure_is_bounded(told: Told) -> None:
    """Of a long message the beginning is kept, of a stack trace the end, where the cause is."""
    message = "the beginning " + "x" * 1_500_000

    def body(depth: int = 500) -> None:
        if depth:
            # A longer line than most.
            body(depth - 1 if depth is not None and depth > 0 and isinstance(depth, int) else 0)
        raise ValueError(message)

    run(body, how="direct")
    span = told.one
    said = str(span.attributes["exception.message"])
    assert span.status.description == said
    assert said.startswith("the beginning")
    assert len(said.encode()) <= 8_000
    stacktrace = str(span.attributes["exception.stacktrace"])
    assert len(stacktrace.encode()) <= 32_000
    assert stacktrace.endswith(f"raise ValueError(message)\nValueError: {said}\n")


@pytest.mark.parametrize(
    ("messages", "attribute"),
    [(["x" * 2_000_000], ""), (["y" * 84_000] * 25, ""), (["z"], "w")],
    ids=["a long message", "many retries", "a large attribute"],
)
def test_what_travels_on_labels_is_bounded(told: Told, messages: list[str], attribute: str) -> None:
    """Prefect refuses an event that is too large, and the task would fail for it."""
    left = list(messages)
    runs = []

    def body() -> None:
        runs.append(TaskRunContext.get().task_run)
        if attribute:
            trace.get_current_span().set_attribute("media.text", attribute * 1_600_000)
        trace.get_current_span().set_attribute("media.files", 3)
        if left:
            raise ValueError(left.pop())

    assert run(body, how="direct", retries=len(messages)).is_completed()
    assert told.one.attributes["task.status"] == "Completed"
    assert events(told.one).count("task.retrying") == len(messages)
    ours = {key: value for key, value in runs[-1].labels.items() if key.startswith("haas_otel")}
    assert len(str(ours).encode()) <= 16_000
    learnt = records.Learnt.from_json(runs[-1].labels[records.LEARNT])
    carried = len(learnt.retries) + len(learnt.attributes)
    assert carried + learnt.left_out == len(messages) + 1 + bool(attribute)
    assert learnt.retries
    assert "media.text" not in learnt.attributes


@pytest.mark.parametrize("limit", [1, 5, 12])
def test_limits_of_the_sdk_take_no_field_of_the_contract_away(
    told: Told, provider: TracerProvider, monkeypatch: MonkeyPatch, limit: int
) -> None:
    limits = SpanLimits(max_span_attributes=limit, max_attribute_length=60, max_events=limit // 5)
    monkeypatch.setattr(provider, "_span_limits", limits)
    monkeypatch.setattr(
        span, "_tracer", provider.get_tracer(settings.scope, span.package_version(), str(limit))
    )

    def body() -> None:
        learn(**{f"media.{number}": number for number in range(20)})
        raise ValueError("m" * 100)

    run(body, how="direct")
    one = told.one
    assert one.attributes["task.status"] == "Failed"
    assert {"task.id", "task.type", "task.name", "task.duration_ms"} <= set(one.attributes)
    assert one.attributes["exception.message"] == one.status.description == "m" * 60
    assert events(one) == ["task.started", "task.failed"]


@pytest.mark.parametrize("name", [None, 3])
def test_a_run_name_that_is_none_is_refused_as_prefect_refuses_it(told: Told, name: Any) -> None:
    state = run(lambda: None, how="direct", task_run_name=lambda: name)
    assert state.is_failed()
    assert f"returned type {type(name).__name__} but a string is required" in str(state.message)
    assert told.task_spans == []
