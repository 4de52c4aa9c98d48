"""The decorators: Prefect's ``task`` and ``flow`` with a span for every task run."""

from __future__ import annotations

import inspect
from contextlib import suppress
from copy import copy
from functools import wraps
from os import environ
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, cast, overload

from prefect.client.orchestration import get_client
from prefect.context import TaskRunContext
from prefect.flows import Flow
from prefect.settings import get_current_settings
from prefect.tasks import MaterializingTask, Task, TaskOptions

from haas_otel import _prefect, history, hooks, ids, reconciler, sigterm, span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prefect.assets import Asset
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import StateHookCallable

# What of a task is replaced.
_INSTRUMENTED = ("fn", "task_run_name", "retry_condition_fn")

P = ParamSpec("P")
R = TypeVar("R")


class Options(TaskOptions, total=False):
    """Everything that ``prefect.task`` takes, and more.

    Attributes:
        task_type: the span's ``task.type``; by default the function's name in PascalCase + "Task".
        on_cancellation: hooks called with (task, task_run, state) when a run is cancelled.
    """

    task_type: str | None
    on_cancellation: list[StateHookCallable] | None


class BackgroundTask(Task[P, R]):
    """A Prefect task whose every run leaves one span.

    Takes everything that ``prefect.task`` takes, and what :class:`Options` tells.
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
        self.instrument(task_type, on_cancellation)

    def instrument(
        self, task_type: str | None = None, on_cancellation: list[StateHookCallable] | None = None
    ) -> None:
        """Have every run leave a span from now on."""
        self.uninstrument()
        self._plain = {name: getattr(self, name) for name in _INSTRUMENTED}
        self.on_cancellation_hooks = list(on_cancellation or ())
        self.task_type = task_type or type_of(getattr(self.fn, "__name__", type(self.fn).__name__))
        if self.source_code is None:
            self.source_code = _stand_in_for_source(self.fn)
        self.fn = _with_span_current(self.fn)
        _prefect.keep_source(self.fn, self._plain["fn"])
        self.task_run_name = cast("Any", self._introduce)
        self.retry_condition_fn = _noting_retries(self.retry_condition_fn)
        _set_hooks(self, hooks.TASK_HOOKS, on=True)
        reconciler.remember(self)
        sigterm.listen()

    def uninstrument(self) -> None:
        """Have no run leave a span from now on: be as Prefect made it."""
        vars(self).update(vars(self).pop("_plain", {}))
        # A run that goes on is told to its end; with one that begins later the hooks do nothing.
        goes_on = any(running.task is self for running in list(span.live.values()))
        _set_hooks(self, hooks.TASK_HOOKS, on=goes_on)

    def on_cancellation(self, fn: StateHookCallable) -> StateHookCallable:
        """Add a hook, called with (task, task_run, state) when a run is cancelled."""
        self.on_cancellation_hooks.append(fn)
        return fn

    def with_options(self, **options: Unpack[Options]) -> Self:  # type: ignore[override]
        """Return this task with other options; ``task_type`` and ``on_cancellation`` too."""
        given: dict[str, Any] = dict(options)
        task_type = given.pop("task_type", None) or self.task_type
        on_cancellation = given.pop("on_cancellation", None)
        if on_cancellation is None:
            on_cancellation = self.on_cancellation_hooks
        plain = copy(self)
        plain.uninstrument()
        changed: Any = super(BackgroundTask, plain).with_options(**given)
        if not isinstance(changed, BackgroundTask):  # else it is of Prefect's choice, as made
            changed.__class__ = self.__class__
        changed.instrument(task_type, on_cancellation)
        vars(changed.fn).update(vars(self.fn))  # there Prefect keeps the object of a method
        return cast("Self", changed)

    async def create_run(  # type: ignore[override]
        self, client: PrefectClient | None = None, *, deferred: bool = False, **options: Any
    ) -> TaskRun:
        """Create a run, as Prefect does; one that is left to a task worker knows its caller."""
        if deferred and span.enabled() and (caller := ids.caller_in(ids.current_flow_run())):
            client = client or get_client()
            _prefect.label_created(client, {ids.TRACEPARENT: caller})
        return await super().create_run(client, deferred=deferred, **options)

    def _introduce(self, parameters: dict[str, Any]) -> str:
        # Prefect asks for a run's name before it enters Running, in every engine: the one moment
        # at which labels still arrive at the server with the Running state.
        run_context = TaskRunContext.get()
        assert run_context is not None  # noqa: S101 - Prefect names a run within its context
        task_run, own = run_context.task_run, {"task_type": self.task_type, "task_name": self.name}
        with span.never_failing():
            if span.enabled():
                span.introduce(task_run, ids.current_flow_run(), **own)
                history.note(task_run)
        if not self._plain["task_run_name"]:
            return task_run.name
        plain = copy(self)
        plain.task_run_name = self._plain["task_run_name"]
        return _prefect.resolve_run_name(plain, parameters)


class BackgroundMaterializingTask(BackgroundTask[P, R], MaterializingTask[P, R]):  # type: ignore[misc]
    """A Prefect task that materializes assets, and whose every run leaves one span."""


@overload
def task(fn: Callable[P, R], /) -> BackgroundTask[P, R]: ...


@overload
def task(
    fn: None = None, /, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], BackgroundTask[P, R]]: ...


def task(fn: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a function a Prefect task whose every run leaves one ``BackgroundTask`` span.

    Use it in place of ``prefect.task``; it takes the same options, and those of :class:`Options`.
    """
    if fn is None:
        return lambda decorated: BackgroundTask(decorated, **options)
    return BackgroundTask(fn, **options)


def materialize(
    *assets: str | Asset, by: str | None = None, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], BackgroundMaterializingTask[P, R]]:
    """Make a function a task that materializes assets, and whose every run leaves one span.

    Use it in place of ``prefect.assets.materialize``; it takes the same options, and those of
    :class:`Options`.

    Raises:
        TypeError: no asset is given.
    """
    if not assets:
        raise TypeError("materialize takes the assets that the task makes: @materialize(asset)")
    given: dict[str, Any] = {"assets": assets, "materialized_by": by, **options}
    return lambda decorated: BackgroundMaterializingTask(decorated, **given)


class BackgroundFlow(Flow[P, R]):
    """A Prefect flow that settles the spans its process could not end.

    Takes everything that ``prefect.flow`` takes. Its own hooks run before yours.
    """

    def __init__(self, fn: Callable[P, R], **options: Any) -> None:
        super().__init__(fn, **options)
        self.instrument()

    def instrument(self) -> None:
        """Have what a run of it leaves be settled from now on."""
        _set_hooks(self, hooks.FLOW_HOOKS, on=True)
        if _prefect.OWN_FLOW_RUN in environ:  # an engine's process: no application sets it up
            _prepare_for_prefects_spans()
            hooks.note_process()

    def uninstrument(self) -> None:
        """Be as Prefect made it."""
        _set_hooks(self, hooks.FLOW_HOOKS, on=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow in this process."""
        _prepare_for_prefects_spans()
        return super().__call__(*args, **kwargs)

    def with_options(self, **options: Any) -> BackgroundFlow[P, R]:
        """Return this flow with other options."""
        changed = cast("BackgroundFlow[P, R]", super().with_options(**options))
        if not isinstance(changed, BackgroundFlow):
            changed.__class__ = self.__class__
        changed.instrument()
        return changed


if TYPE_CHECKING:
    from prefect import flow as flow  # its signature is what type checkers see
else:

    def flow(fn: Callable[P, R] | None = None, /, **options: Any) -> Any:
        """Make a function a Prefect flow that settles the spans its process could not end.

        Use it in place of ``prefect.flow``; it takes the same options.
        """
        if fn is None:
            return lambda decorated: BackgroundFlow(decorated, **options)
        return BackgroundFlow(fn, **options)

    flow.from_source = Flow.from_source  # as at ``prefect.flow``


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
            with hooks.current() as note:
                return note(await fn(*args, **kwargs))

        return cast("Callable[P, R]", async_body)

    @wraps(fn)
    def body(*args: P.args, **kwargs: P.kwargs) -> R:
        with hooks.current() as note:
            return cast("R", note(fn(*args, **kwargs)))

    return body


def _stand_in_for_source(fn: Callable[..., Any]) -> str | None:
    # By this Prefect's cache tells tasks apart. Where there is no source it would take the code of
    # ``task.fn``, which is that of our wrapper: one task would be given another's result.
    if code := getattr(fn, "__code__", None):
        return str(code.co_code.hex())
    with suppress(OSError, TypeError):
        return inspect.getsource(type(fn))
    return None


def _set_hooks(decorated: Any, ours: dict[str, Any], *, on: bool) -> None:
    # First, so that the user's own find the span live on running, and ended at the end.
    for moment, hook in ours.items():
        theirs = [each for each in getattr(decorated, f"{moment}_hooks") if each is not hook]
        setattr(decorated, f"{moment}_hooks", [hook, *theirs] if on else theirs)


def _prepare_for_prefects_spans() -> None:
    # Prefect starts its own spans before a task of ours is named: the set-up must come first, or
    # the first of them would be missing and its children without parent.
    if get_current_settings().cloud.enable_orchestration_telemetry and span.enabled():
        span.tracer()


def _noting_retries(condition: Any) -> Callable[..., Any]:
    # Prefect asks the condition right before each retry, with the attempt's failure at hand, and
    # awaits what it returns if that can be awaited; before 3.9 it did for coroutine functions only.
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

    async def decide_later(*given: Any) -> bool:
        return await cast("Awaitable[bool]", decide(*given))

    called = (condition, getattr(condition, "__call__", None))  # noqa: B004 - is it async?
    return decide_later if any(map(inspect.iscoroutinefunction, called)) else decide
