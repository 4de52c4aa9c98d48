"""The decorators are Prefect's own, and lose nothing of theirs."""

from __future__ import annotations

import asyncio
import inspect
import sys
from contextvars import Context
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING, Any

import prefect
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from packaging.version import Version
from prefect.context import FlowRunContext, TaskRunContext
from prefect.flows import Flow
from prefect.settings import (
    PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY,
    temporary_settings,
)
from prefect.task_engine import run_task_sync
from prefect.tasks import Task, task_input_hash
from prefect.utilities.annotations import NotSet

from haas_otel import (
    BackgroundTask,
    flow,
    hooks,
    ids,
    records,
    span,
    task,
)
from haas_otel.decorators import BackgroundFlow, type_of

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from opentelemetry.sdk.trace import TracerProvider

    from tests.haas_otel.conftest import Told
    from tests.haas_otel.given import Client, LogCapture, MonkeyPatch


@pytest.mark.parametrize(
    ("function", "task_type"),
    [
        ("metadata_scan", "MetadataScanTask"),
        ("encode", "EncodeTask"),
        ("scan_4k_films", "Scan4kFilmsTask"),
        ("_hidden", "HiddenTask"),
        ("addToLibrary", "AddToLibraryTask"),
    ],
)
def test_task_type_is_the_functions_name(function: str, task_type: str) -> None:
    assert type_of(function) == task_type


def test_every_option_of_prefects_task_survives_with_options() -> None:
    def hook(task: Any, task_run: Any, state: Any) -> None: ...

    @task(name="First", retries=3, on_cancellation=[hook], on_failure=[hook], task_type="Own")
    def first() -> None: ...

    second = first.with_options(name="Second", on_completion=[hook])
    assert isinstance(second, BackgroundTask)
    assert (second.name, second.retries, second.task_type) == ("Second", 3, "Own")
    assert second.on_cancellation_hooks == [hook]
    assert second.on_failure_hooks == [hooks.haas_otel_on_end, hook]
    assert second.on_completion_hooks == [hooks.haas_otel_on_end, hook]
    assert second.on_running_hooks == [hooks.haas_otel_on_running]


def test_an_option_that_is_none_is_kept_as_prefect_keeps_it() -> None:
    def hook(task: Any, task_run: Any, state: Any) -> None: ...

    @task(
        name="First",
        timeout_seconds=3,
        retries=2,
        task_type="Own",
        on_failure=[hook],
        on_cancellation=[hook],
        task_run_name="a run",
    )
    def first() -> None: ...

    nothing: dict[str, Any] = dict.fromkeys(inspect.signature(Task.with_options).parameters)
    del nothing["self"]
    nothing |= {"retries": NotSet, "task_type": None, "on_cancellation": None}
    second = first.with_options(**nothing)
    plain = prefect.task(name="First", timeout_seconds=3, retries=2)(first.fn)
    theirs = plain.with_options(**{name: nothing[name] for name in ("name", "timeout_seconds")})
    assert (second.name, second.timeout_seconds) == (theirs.name, theirs.timeout_seconds)
    assert (second.retries, second.task_type) == (2, "Own")
    assert second.on_failure_hooks == [hooks.haas_otel_on_end, hook]
    assert second.on_cancellation_hooks == [hook]
    assert second._plain["task_run_name"] is None, "None is a value where the default is not"


@pytest.mark.parametrize("moment", ["on_rollback", "on_commit", "on_cancellation", "on_failure"])
def test_a_hook_that_is_added_to_the_copy_is_none_of_the_original(moment: str) -> None:
    def hook(*arguments: Any) -> None: ...

    @task
    def first() -> None: ...

    getattr(first, moment)(hook)
    second = first.with_options(name="Second")
    taken_over = getattr(second, f"{moment}_hooks").count(hook)
    getattr(second, moment)(hook)
    assert getattr(first, f"{moment}_hooks").count(hook) == 1
    assert getattr(second, f"{moment}_hooks").count(hook) == taken_over + 1


def test_methods_keep_their_object_with_options(told: Told) -> None:
    class Library:
        title = "every"

        def __init__(self, title: str) -> None:
            self.title = title

        @task
        def scan(self, folder: str) -> str:
            return f"{self.title}/{folder}"

        @task
        @classmethod
        def scan_all(cls, folder: str) -> str:
            return f"{cls.title}/{folder}"

    films = Library("films")
    assert films.scan("new") == "films/new"
    assert films.scan.with_options(name="Scan")("new") == "films/new"
    assert Library.scan_all.with_options(name="Scan all")("new") == "every/new"
    assert [s.attributes["task.name"] for s in told.task_spans] == ["scan", "Scan", "Scan all"]


class Scan:
    """A task that is no function."""

    def __call__(self, folder: str) -> str:
        return folder


def test_an_object_that_can_be_called_is_named_by_its_class(told: Told, caplog: LogCapture) -> None:
    scan = task(Scan())
    assert scan("films") == "films"
    assert told.one.name == "BackgroundTask.ScanTask"
    assert told.one.attributes["task.name"] == "Scan"
    assert "cache key" not in caplog.text


from_39 = pytest.mark.xfail(
    Version(prefect.__version__) < Version("3.9"),
    reason="Prefect took our wrapper's code for a key then",
    strict=True,
)


@pytest.mark.parametrize(
    "kind", ["functions", "objects", pytest.param("hashed objects", marks=from_39)]
)
def test_cached_results_of_tasks_without_source_are_not_mixed_up(told: Told, kind: str) -> None:
    """By default Prefect's cache knows a task by its source, else by the code of its function."""
    made: dict[str, Any] = {}
    key = None
    if kind == "functions":
        code = "def one(x): return x + 1\ndef two(x): return x * 5"
    elif kind == "hashed objects":
        key = task_input_hash
        code = "class Call:\n def __init__(self, f): self.f = f\n"
        code += " def __call__(self, x): return self.f(x)\n"
        code += "one, two = Call(lambda x: x + 1), Call(lambda x: x * 5)"
    else:
        code = "class One:\n def __call__(self, x): return x + 1\none = One()\n"
        code += "class Two:\n def __call__(self, x): return x * 5\ntwo = Two()\n"
    exec(code, made)
    one, two = (task(persist_result=True, cache_key_fn=key)(made[name]) for name in ("one", "two"))

    @flow
    def both() -> tuple[int, int]:
        return one(1), two(1)

    assert both() == (2, 5)


@from_39
def test_results_that_plain_prefect_kept_are_found(told: Told) -> None:
    keys: list[str | None] = []

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> None:
        keys.append(task_input_hash(context, parameters))

    def sync(x: int) -> None: ...

    async def later(x: int) -> None: ...

    for made in (task, prefect.task):
        made(cache_key_fn=key)(sync)(1)
        asyncio.run(made(cache_key_fn=key)(later)(1))
    assert None not in keys
    assert keys[:2] == keys[2:]


def test_flows_keep_their_hooks_with_options() -> None:
    def hook(flow: Any, flow_run: Any, state: Any) -> None: ...

    @flow(name="first", on_crashed=[hook])
    def first() -> int:
        return 1

    assert isinstance(first, Flow)
    second = first.with_options(name="second", on_cancellation=[hook])
    assert isinstance(second, BackgroundFlow)
    assert second.name == "second"
    assert second.on_cancellation_hooks == [hooks.haas_otel_on_ended, hook]
    assert second.on_crashed_hooks == [hooks.haas_otel_on_ended, hook]
    assert second.on_failure_hooks == [hooks.haas_otel_on_ended]


def test_a_flow_is_loaded_from_its_source(tmp_path: Path, prefect_server: str) -> None:
    (tmp_path / "theirs.py").write_text(
        "from haas_otel import flow\n\n@flow(name='from a file')\ndef top(): ...\n"
    )
    loaded = flow.from_source(source=str(tmp_path), entrypoint="theirs.py:top")
    assert isinstance(loaded, BackgroundFlow)
    assert loaded.name == "from a file"
    assert loaded.on_crashed_hooks == [hooks.haas_otel_on_ended]


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        (None, "scan"),  # Prefect's own
        ("scan of {library}", "scan of Films"),
        (lambda: "a scan", "a scan"),
        (lambda parameters: f"scan: {parameters['library']}", "scan: Films"),
    ],
)
def test_task_run_names(told: Told, chosen: Any, name: str) -> None:
    names: list[str] = []

    @task(task_run_name=chosen, on_completion=[lambda t, run, s: names.append(run.name)])
    def scan(library: str) -> None: ...

    scan("Films")
    scan.with_options()("Films")
    assert names == [name, name]
    assert [s.attributes["task.name"] for s in told.task_spans] == ["scan", "scan"]


def test_the_callers_trace_is_taken_from_the_flow_runs_label(told: Told) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @task
    def child() -> None: ...

    @flow
    def called() -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        context.flow_run.labels[ids.TRACEPARENT] = caller
        child()
        child()

    called()
    for s in told.task_spans:
        assert f"{s.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{s.parent.span_id:016x}" == "b7ad6b7169203331"


def test_what_a_task_starts_has_that_task_as_caller(told: Told) -> None:
    """``run_deployment`` reads the flow run's labels: in a body they name the task's span.

    Between tasks that of the latest; which is no parent of the next.
    """
    seen: list[Any] = []

    def label() -> Any:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return context.flow_run.labels.get(ids.TRACEPARENT)

    @task
    def starts() -> None:
        seen.append(label())

    @flow
    def top() -> None:
        seen.append(label())
        for _ in range(2):
            starts()
            seen.append(label())

    top()
    spans = told.task_spans
    assert [span.parent for span in spans] == [None, None]
    first, second = (f"00-{s.context.trace_id:032x}-{s.context.span_id:016x}" for s in spans)
    assert [each and each[:52] for each in seen] == [None, first, first, second, second]


@pytest.mark.parametrize(
    ("variable", "value", "spans"),
    [
        ("OTEL_SDK_DISABLED", "true", 0),
        ("OTEL_SDK_DISABLED", " TRUE ", 0),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "haas_otel", 0),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "httpx, haas_otel", 0),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "*", 0),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "httpx", 1),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "haas_otel_else", 1),
    ],
)
def test_switched_off(
    told: Told, monkeypatch: MonkeyPatch, variable: str, value: str, spans: int
) -> None:
    monkeypatch.setenv(variable, value)

    @task(retries=1)
    def quiet() -> None:
        assert trace.get_current_span().is_recording() == bool(spans)
        raise ValueError("off means no spans, never another error")

    @flow
    def top() -> None:
        quiet(return_state=True)

    top()
    assert len(told.spans) == spans


def test_without_the_locks_of_linux_there_are_no_spans(
    told: Told, monkeypatch: MonkeyPatch, caplog: LogCapture
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    span.is_possible.cache_clear()

    @task
    def works() -> int:
        return 7

    assert (works(), works()) == (7, 7)
    span.is_possible.cache_clear()
    assert told.spans == ()
    assert caplog.text.count("Tasks leave no spans here") == 1


def test_unsampled(told: Told, provider: TracerProvider, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(span._tracer, "sampler", ALWAYS_OFF)

    @task
    def unsampled() -> None:
        assert trace.get_current_span().get_span_context().is_valid

    @task
    def fails_unsampled() -> None:
        raise ValueError("no span tells it")

    unsampled()
    assert fails_unsampled(return_state=True).is_failed()
    assert told.spans == ()


def test_learnt_that_cannot_be_read_is_nothing() -> None:
    for broken in ("{", "[]", '{"retries": [{"x": 1}]}', '{"attributes": 3}'):
        assert records.Learnt.from_json(broken) == records.Learnt()


def test_telemetry_never_fails_a_task(told: Told, monkeypatch: MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(records, "disk", broken)
    monkeypatch.setattr(span, "start", broken)
    monkeypatch.setattr(hooks, "note_retry", broken)
    attempts: list[int] = []

    @task(retries=1)
    def works() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError
        return "done"

    assert works() == "done"
    assert told.spans == ()


@pytest.mark.parametrize("prefects_spans", [True, False])
def test_the_set_up_comes_before_prefects_own_spans(
    prefect_server: str, monkeypatch: MonkeyPatch, prefects_spans: bool
) -> None:
    prepared: list[str] = []
    monkeypatch.setattr(span, "_tracer", None)
    monkeypatch.setattr(span, "prepare", lambda _: prepared.append("set up"))
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "of an engine's process")
    setting = PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY
    with temporary_settings({setting: prefects_spans}):

        @flow
        def some() -> None: ...

    assert prepared == (["set up"] if prefects_spans else [])


def test_the_version_of_a_checkout_that_is_not_installed(monkeypatch: MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(span, "version", absent)
    assert span.package_version() == "0"


@pytest.mark.parametrize("within", ["a web request", "a flow's task"])
def test_a_run_that_is_left_to_a_task_worker_hangs_under_its_caller(
    told: Told, client: Client, within: str
) -> None:
    @task
    def later() -> str:
        return "done"

    @task
    def outer() -> UUID:
        return later.delay().task_run_id

    @flow
    def starts() -> UUID:
        return outer()

    if within == "a flow's task":
        run_id = starts()
        (caller,) = told.task_spans
    else:
        with trace.get_tracer("web").start_as_current_span("POST /films") as caller:
            run_id = later.delay().task_run_id
    # As a task worker does it, in a process without any context.
    waiting = client.read_task_run(run_id)
    done = Context().run(run_task_sync, later, task_run_id=run_id, task_run=waiting, parameters={})
    assert done == "done"
    span = told.task_spans[-1]
    assert span.attributes["task.type"] == "LaterTask"
    assert span.parent.span_id == caller.get_span_context().span_id
    assert span.context.trace_id == caller.get_span_context().trace_id
