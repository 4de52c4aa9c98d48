"""What is used of Prefect that it does not call public, each with why.

A version that lacks one of these says so in a test, not in somebody's run.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Crashed
from prefect.utilities.engine import emit_task_run_state_change_event

from haas_otel import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.trace import Span
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.tasks import Task

Context = TypeVar("Context", FlowRunContext, TaskRunContext)
# Who starts a flow run's own process tells it by this variable, with one of these modules: children
# have the variable, too. There is no other way to know a run whose flow has not begun yet.
OWN_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
ENGINES = {"prefect.engine", "prefect.flow_engine"}


def resolve_run_name(task: Task[..., Any], parameters: dict[str, Any]) -> str:
    """Return the name that a task gives a run; raises TypeError where that is no string.

    A task's own ``task_run_name`` is replaced by ours, which has to give what it would have given.
    """
    from prefect._internal.engine import resolve_custom_task_run_name

    return resolve_custom_task_run_name(task, parameters)


def keep_source(body: Callable[..., Any], plain: Callable[..., Any]) -> None:
    """Have ``task_input_hash`` take the plain function's code for its key, and not our wrapper's.

    With that an object that is called was given another's result, and what plain Prefect had kept
    was lost: as it is before Prefect 3.9.
    """
    if body is not plain:
        body.__prefect_task_source__ = plain  # type: ignore[attr-defined]


def is_cancelled_by_its_runner() -> bool:
    """Say whether the signal that stops this process is a cancellation that Prefect knows of.

    Its runner tells it before; any other signal comes from the system.
    """
    from prefect._internal.control_listener import get_intent

    return get_intent() == "cancel"


def contexts(kind: type[Context]) -> Iterator[Context]:
    """Yield the contexts of the flow runs, or task runs, that go on here, the innermost first.

    A run ends with the one around it, whose context only the token of its own leads to.
    """
    found: object = kind.get()
    while isinstance(found, kind):
        yield found
        found = found._token and found._token.old_value


def label_created(client: PrefectClient, labels: dict[str, str]) -> None:
    """Have the task runs that a client creates carry labels.

    A task worker may have a run before a second request could label it, and Prefect's client has no
    way to create one with labels: so its HTTP client adds them on the way.
    """
    http = client._client
    post = getattr(http.post, "_haas_otel", http.post)  # a client may create several

    async def labelled(url: Any, *args: Any, json: Any = None, **options: Any) -> Any:
        if url == "/task_runs/":
            json = {**json, "labels": {**json.get("labels", {}), **labels}}
        return await post(url, *args, json=json, **options)

    labelled._haas_otel = post  # type: ignore[attr-defined]
    http.post = labelled  # type: ignore[method-assign]


def said_by(state: State[Any]) -> State[Any]:
    """Return what the body returned, of the state that a retry condition is given.

    Before Prefect 3.9 a failed state that is returned comes within another.
    """
    inner = state.data
    return inner if isinstance(inner, type(state)) else state


def name_callers(flow_run: FlowRun) -> None:
    """Have what a flow run starts named after the span that is current there as its caller.

    ``run_deployment`` takes the caller from the flow run's labels, by ``get``, and asks nothing
    that differs from one task's body to another's. So the labels answer by where they are asked:
    between tasks by the ``latest`` of them.
    """
    if not isinstance(flow_run.labels, _CallerLabels):
        flow_run.labels = _CallerLabels(flow_run.labels)


def note_latest(flow_run: FlowRun | None, span: Span) -> None:
    """Have what a flow run starts between its tasks named after this span."""
    if flow_run is not None and isinstance(flow_run.labels, _CallerLabels):
        flow_run.labels.latest = span


class _CallerLabels(dict[str, Any]):
    latest: Span | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy, in another process perhaps, is a plain dict

    def get(self, key: str, default: Any = None) -> Any:
        if key != ids.TRACEPARENT:
            return super().get(key, default)
        latest = ids.current_caller(self.latest) if self.latest else None
        return ids.current_caller() or super().get(key) or latest or default


def before_a_task_workers_own(handle: Callable[..., object]) -> None:
    """Have a handler of SIGTERM called before that of task workers, which it gets to call.

    A task worker installs its own after it has asked its tasks for their options: by then its
    module is there, which nobody else is to import.
    """
    module = sys.modules.get("prefect.task_worker")
    worker = getattr(module, "TaskWorker", None)  # while its module is imported there is none yet
    if worker is not None and not hasattr(worker, "_haas_otel"):
        plain = worker.handle_sigterm
        worker.handle_sigterm = lambda own, *signal: handle(*signal, partial(plain, own))
        worker._haas_otel = True


def report_crashed(task_run: TaskRun, message: str) -> None:
    """Give a task run its last state, when its engine cannot."""
    state: State[Any] = Crashed(message=message)
    before = task_run.state
    state.state_details.task_run_id = task_run.id
    task_run.state = state
    emit_task_run_state_change_event(task_run, before, state)
