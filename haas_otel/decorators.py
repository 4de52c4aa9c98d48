"""The decorators: Prefect's ``task`` and ``flow`` with a span for every task run."""

from __future__ import annotations

import inspect
from contextlib import suppress
from copy import copy
from functools import wraps
from os import environ
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from prefect._internal.engine import resolve_custom_task_run_name
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.flows import Flow
from prefect.settings import get_current_settings
from prefect.tasks import Task

from haas_otel import flow_hooks, hooks, labels, reconciler, records, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import StateHookCallable

# What of a task is replaced.
_INSTRUMENTED = ("fn", "task_run_name", "retry_condition_fn")

P = ParamSpec("P")
R = TypeVar("R")


class BackgroundTask(Task[P, R]):
    """A Prefect task whose every run leaves one span.

    Args:
        fn: the task function, sync or async.
        task_type: the span's ``task.type``; by default the function's name in PascalCase + "Task".
        on_cancellation: hooks called with (task, task_run, state) when a run is cancelled.
        options: everything that ``prefect.task`` takes.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        task_type: str | None = None,
        on_cancellation: list[StateHookCallable] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(fn, **options)
        self._instrument(task_type, on_cancellation or [])

    def _instrument(self, task_type: str | None, on_cancellation: list[StateHookCallable]) -> None:
        self._plain = {name: getattr(self, name) for name in _INSTRUMENTED}
        self.on_cancellation_hooks = list(on_cancellation)
        self.task_type = task_type or type_of(getattr(self.fn, "__name__", type(self.fn).__name__))
        if self.source_code is None:
            self.source_code = _stand_in_for_source(self.fn)
        self.fn = _with_span_current(self.fn)
        self.task_run_name = cast("Any", self._introduce)
        self.retry_condition_fn = _noting_retries(self.retry_condition_fn)
        _put_first(self, hooks.TASK_HOOKS)
        reconciler.remember(self)

    def on_cancellation(self, fn: StateHookCallable) -> StateHookCallable:
        """Add a hook, called with (task, task_run, state) when a run is cancelled."""
        self.on_cancellation_hooks.append(fn)
        return fn

    def with_options(
        self,
        *,
        task_type: str | None = None,
        on_cancellation: list[StateHookCallable] | None = None,
        **options: Any,
    ) -> BackgroundTask[P, R]:
        """Return this task with other options; ``task_type`` and ``on_cancellation`` too."""
        plain = copy(self)
        vars(plain).update(self._plain)
        changed = cast("BackgroundTask[P, R]", Task.with_options(plain, **options))
        changed.__class__ = BackgroundTask
        if on_cancellation is None:
            on_cancellation = self.on_cancellation_hooks
        changed._instrument(task_type or self.task_type, on_cancellation)
        vars(changed.fn).update(vars(self.fn))  # there Prefect keeps the object of a method
        return changed

    async def create_run(  # type: ignore[override]
        self, client: PrefectClient | None = None, *, deferred: bool = False, **options: Any
    ) -> TaskRun:
        """Create a run, as Prefect does; one that is left to a task worker knows its caller."""
        caller = _caller() if deferred and span.enabled() else None
        if caller:
            client = client or get_client()
            _label(client, {labels.TRACEPARENT: caller})
        return await super().create_run(client, deferred=deferred, **options)

    def _introduce(self, parameters: dict[str, Any]) -> str:
        # Prefect asks for a run's name before it enters Running, in every engine: the one moment
        # at which labels still arrive at the server with the Running state.
        run_context = TaskRunContext.get()
        assert run_context is not None  # noqa: S101 - Prefect names a run within its context
        task_run = run_context.task_run
        with span.never_failing():
            if span.enabled():
                flow_context = FlowRunContext.get()
                span.introduce(
                    task_run,
                    flow_context.flow_run if flow_context else None,
                    task_type=self.task_type,
                    task_name=self.name,
                    machine=disk.machine if (disk := records.disk()) else None,
                )
        if not self._plain["task_run_name"]:
            return task_run.name
        plain = copy(self)
        plain.task_run_name = self._plain["task_run_name"]
        return resolve_custom_task_run_name(plain, parameters)


def _caller() -> str | None:
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    given = flow_run.labels.get(labels.TRACEPARENT) if flow_run else None
    return span.traceparent() or (str(given) if given else None)


def _label(client: PrefectClient, given: dict[str, str]) -> None:
    # The worker may have the run before a second request could label it, and Prefect's client has
    # no way to create one with labels. A private name of Prefect's.
    http = client._client
    post = http.post

    async def labelled(url: Any, *args: Any, json: Any = None, **options: Any) -> Any:
        if url == "/task_runs/":
            json = {**json, "labels": {**json.get("labels", {}), **given}}
        return await post(url, *args, json=json, **options)

    http.post = labelled  # type: ignore[method-assign]


@overload
def task(fn: Callable[P, R], /) -> BackgroundTask[P, R]: ...


@overload
def task(
    fn: None = None, /, **options: Any
) -> Callable[[Callable[P, R]], BackgroundTask[P, R]]: ...


def task(fn: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a function a Prefect task whose every run leaves one ``BackgroundTask`` span.

    Use it in place of ``prefect.task``; it takes the same options, and ``task_type`` and
    ``on_cancellation`` as :class:`BackgroundTask` tells.
    """
    if fn is None:
        return lambda decorated: BackgroundTask(decorated, **options)
    return BackgroundTask(fn, **options)


class BackgroundFlow(Flow[P, R]):
    """A Prefect flow that settles the spans its process could not end.

    Takes everything that ``prefect.flow`` takes. Its own hooks run before yours.
    """

    def __init__(self, fn: Callable[P, R], **options: Any) -> None:
        super().__init__(fn, **options)
        _put_first(self, flow_hooks.FLOW_HOOKS)
        if "PREFECT__FLOW_RUN_ID" in environ:  # an engine's process: no application sets it up
            _prepare_for_prefects_spans()
            flow_hooks.note_process()

    if TYPE_CHECKING:
        pass  # what a call takes and returns is told by Prefect's overloads
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the flow in this process."""
            _prepare_for_prefects_spans()
            return super().__call__(*args, **kwargs)

    def with_options(self, **options: Any) -> BackgroundFlow[P, R]:
        """Return this flow with other options."""
        changed = cast("BackgroundFlow[P, R]", super().with_options(**options))
        changed.__class__ = BackgroundFlow
        _put_first(changed, flow_hooks.FLOW_HOOKS)
        return changed


class _FlowDecorator:
    """Make a function a Prefect flow that settles the spans its process could not end.

    Use it in place of ``prefect.flow``; it takes the same options.
    """

    @overload
    def __call__(self, fn: Callable[P, R], /) -> BackgroundFlow[P, R]: ...

    @overload
    def __call__(
        self, fn: None = None, /, **options: Any
    ) -> Callable[[Callable[P, R]], BackgroundFlow[P, R]]: ...

    def __call__(self, fn: Callable[P, R] | None = None, /, **options: Any) -> Any:
        """Decorate a function, or return a decorator with these options."""
        if fn is None:
            return lambda decorated: BackgroundFlow(decorated, **options)
        return BackgroundFlow(fn, **options)

    from_source = staticmethod(Flow.from_source)  # as at ``prefect.flow``


flow = _FlowDecorator()


def type_of(function_name: str) -> str:
    """Return the task type of a function: ``metadata_scan`` gives ``MetadataScanTask``."""
    words = function_name.split("_")
    return "".join(word[:1].upper() + word[1:] for word in words) + "Task"


def _with_span_current(fn: Callable[P, R]) -> Callable[P, R]:
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        # Between its items the span would be current in the consumer's code.
        return cast("Callable[P, R]", fn)

    if inspect.iscoroutinefunction(fn):

        @wraps(fn)
        async def async_body(*args: P.args, **kwargs: P.kwargs) -> Any:
            with hooks.current() as running:
                result = await fn(*args, **kwargs)
                hooks.note_result(running, result)
                return result

        return cast("Callable[P, R]", async_body)

    @wraps(fn)
    def body(*args: P.args, **kwargs: P.kwargs) -> R:
        with hooks.current() as running:
            result = fn(*args, **kwargs)
            hooks.note_result(running, result)
            return result

    return body


def _stand_in_for_source(fn: Callable[..., Any]) -> str | None:
    # By this Prefect's cache tells tasks apart. Where there is no source it would take the code of
    # ``task.fn``, which is that of our wrapper: one task would be given another's result.
    if code := getattr(fn, "__code__", None):
        return str(code.co_code.hex())
    with suppress(OSError, TypeError):
        return inspect.getsource(type(fn))
    return None


def _put_first(decorated: Any, ours: dict[str, Any]) -> None:
    # The user's own hooks find the span live on running, and told at the end.
    for moment, hook in ours.items():
        theirs = [each for each in getattr(decorated, f"{moment}_hooks") if each is not hook]
        setattr(decorated, f"{moment}_hooks", [hook, *theirs])


def _prepare_for_prefects_spans() -> None:
    # Prefect starts its own spans before a task of ours is named: the set-up must come first, or
    # the first of them would be missing and its children without parent.
    if get_current_settings().cloud.enable_orchestration_telemetry and span.enabled():
        span.tracer()


def _noting_retries(condition: Any) -> Callable[..., Any]:
    # Prefect asks the condition right before each retry, with the attempt's failure at hand, and
    # awaits what it returns if that can be awaited.
    def noted(task_run: TaskRun, state: State[Any], retry: Any) -> bool:
        if retry:
            with span.never_failing():
                hooks.note_retry(task_run, state)
        return bool(retry)

    async def noted_later(task_run: TaskRun, state: State[Any], retry: Any) -> bool:
        return noted(task_run, state, await retry)

    def decide(task: Any, task_run: TaskRun, state: State[Any]) -> Any:
        retry = condition is None or condition(task, task_run, state)
        return (noted_later if inspect.isawaitable(retry) else noted)(task_run, state, retry)

    return decide
