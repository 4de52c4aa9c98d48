"""The span of a task run: the one code path that makes it, in whatever process that runs."""

from __future__ import annotations

import atexit
import logging
import threading
import traceback
from contextlib import contextmanager
from datetime import UTC, date
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from os import environ
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prefect.settings import get_current_settings

from haas_otel import ids, labels

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from opentelemetry.trace import Span, Tracer
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

SCOPE = "Haas.Media.BackgroundTasks"
CANCELLED_MESSAGE = "Task was cancelled"

_logger = logging.getLogger(__name__)
_OK = Status(StatusCode.OK)
_EPOCH = date(1970, 1, 1).toordinal()
_propagator = TraceContextTextMapPropagator()
_prepare: Callable[[], object] = lambda: None  # noqa: E731
_last_duties: list[Callable[[], object]] = []
_tracer: Tracer | None = None
_tracer_lock = threading.Lock()


class Ending(NamedTuple):
    """How a task run ended. ``at`` is in nanoseconds since the epoch."""

    status: Literal["Completed", "Failed", "Cancelled"]
    at: int
    message: str = ""
    exception_type: str | None = None
    stacktrace: str | None = None


def prepare_with(configure: Callable[[], object]) -> None:
    """Have ``configure`` called once in a process, before its first span."""
    global _prepare
    _prepare = configure


def at_exit(duty: Callable[[], object]) -> None:
    """Have ``duty`` called when a process that made spans exits, while spans can still be ended."""
    _last_duties.append(duty)


@contextmanager
def never_failing() -> Iterator[None]:
    """Log what goes wrong in here, and go on: telemetry never fails a task.

    Prefect does the same around hooks; this is for what it calls in other places.
    """
    try:
        yield
    except Exception:
        _logger.exception("A task's span cannot be told as it should")


def enabled() -> bool:
    """Say whether task spans are wanted: neither the SDK nor this instrumentation is off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    disabled = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    return not disabled or {"haas_otel", "*"}.isdisjoint(map(str.strip, disabled.split(",")))


def tracer() -> Tracer:
    """Return the tracer of the scope, after the set-up."""
    global _tracer
    if _tracer is None:
        with _tracer_lock:
            if _tracer is None:
                _prepare()
                _tracer = trace.get_tracer(SCOPE, package_version())
                # After the set-up, so that it runs before the provider's own shutdown.
                for last_duty in _last_duties:
                    atexit.register(last_duty)
    return _tracer


def package_version() -> str:
    """Return the version that the scope carries."""
    try:
        return version("haas-media")
    except PackageNotFoundError:  # a checkout on the path, never installed
        return "0"


def introduce(
    task_run: TaskRun,
    flow_run: FlowRun | None,
    *,
    task_type: str,
    task_name: str,
    ledger: str | None = None,
) -> None:
    """Put on a task run's labels what its span needs, before it enters Running."""
    own = task_run.labels
    own[labels.TASK_TYPE] = task_type
    own[labels.TASK_NAME] = task_name
    if ledger:
        own[labels.LEDGER] = ledger
    if flow_run is not None and not isinstance(flow_run.labels, CallerLabels):
        flow_run.labels = CallerLabels(flow_run.labels)
    # Where the label is there already, Prefect's own span of this run is the caller.
    if labels.TRACEPARENT not in own:
        caller = flow_run.labels.get(labels.TRACEPARENT) if flow_run else traceparent()
        if caller:
            own[labels.TRACEPARENT] = str(caller)


class CallerLabels(dict[str, Any]):
    """The labels of a flow run, which name the current span as the caller while there is one.

    What a flow run starts takes its caller from these labels, ``run_deployment`` too: so a
    deployment that is run in a task's body hangs under that task's span.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return a label; for the caller's, the span that is current in this context first."""
        current = traceparent() if key == labels.TRACEPARENT else None
        return current or super().get(key, default)


def traceparent() -> str | None:
    """Return the current span as a W3C traceparent; None where there is none."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def start(task_run: TaskRun, flow_run: FlowRun | None) -> Span:
    """Start the span of a started task run, as its record tells it."""
    started = nanoseconds(task_run.start_time)
    task_run_id = task_run.id
    attributes = _identity(task_run)
    if flow_run is not None:
        attributes.update(_of_flow_run(flow_run.id, flow_run.name, flow_run.deployment_id))
        attributes["prefect.attempt"] = task_run.flow_run_run_count or flow_run.run_count
    trace_id = ids.trace_id_of(task_run_id, task_run.flow_run_id)
    with ids.chosen(trace_id, ids.span_id_of(task_run_id)):
        span = tracer().start_span(
            f"BackgroundTask.{attributes['task.type']}",
            context=_caller(task_run),
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=started,
        )
    span.add_event("task.started", timestamp=started)
    return span


def retrying(span: Span, retry: labels.Retry) -> None:
    """Note on the span that an attempt failed and another follows."""
    span.add_event(
        "task.retrying",
        {
            "task.attempt": retry.attempt,
            "exception.type": retry.exception_type,
            "exception.message": retry.exception_message,
        },
        timestamp=retry.at,
    )


def end(span: Span, task_run: TaskRun, ending: Ending) -> None:
    """End the span: status, tags and the closing event, by the contract."""
    started = getattr(span, "start_time", None) or nanoseconds(task_run.start_time)
    at = max(ending.at, started)
    tags: dict[str, Any] = {
        "task.status": ending.status,
        "task.duration_ms": (at - started) / 1e6,
    }
    if ending.status == "Failed" and ending.exception_type:
        tags["exception.type"] = ending.exception_type
        tags["exception.message"] = ending.message
        if ending.stacktrace:
            tags["exception.stacktrace"] = ending.stacktrace
    attributes_full, events_full = _is_full(span, len(tags))
    span.set_attributes(_identity(task_run) | tags if attributes_full else tags)
    if ending.status == "Completed":
        span.set_status(_OK)
    else:
        _forget_status(span)
        span.set_status(Status(StatusCode.ERROR, ending.message))
    if events_full:
        span.add_event("task.started", timestamp=started)
    span.add_event(f"task.{ending.status.lower()}", timestamp=at)
    span.end(at)


def ending_of(state: State[Any]) -> Ending:
    """Return the ending that a terminal state tells: Completed, Failed or Cancelled."""
    at = nanoseconds(state.timestamp)
    if state.is_completed():
        return Ending("Completed", at)
    if state.is_failed():
        return failed(exception_in(state), at, state.message)
    return cancelled(at)


def cancelled(at: int) -> Ending:
    """Return the ending of a task run that a user or the system stopped."""
    return Ending("Cancelled", at, CANCELLED_MESSAGE)


def failed(exception: BaseException | None, at: int, message: str | None = None) -> Ending:
    """Return the ending of a task run that failed; ``message`` where there is no exception."""
    if exception is None:
        return Ending("Failed", at, message or "Run failed.", "prefect.exceptions.FailedRun")
    name = type_name(exception)
    stacktrace = "".join(traceback.format_exception(exception))
    return Ending("Failed", at, str(exception) or name, name, stacktrace)


def crashed(at: int, message: str | None) -> Ending:
    """Return the ending of a task run whose process died; Prefect's message tells how."""
    return Ending("Failed", at, message or "Run crashed.", "prefect.exceptions.CrashedRun")


def exception_in(state: State[Any]) -> BaseException | None:
    """Return the exception a state holds in this process, whether or not it is persisted."""
    data = getattr(state.data, "result", state.data)
    return data if isinstance(data, BaseException) else None


def type_name(exception: BaseException) -> str:
    """Return the module-qualified name of an exception's type, bare for builtins."""
    kind = type(exception)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def nanoseconds(moment: dt.datetime | None) -> int:
    """Return a moment in nanoseconds since the epoch, exact to its microsecond."""
    if moment is None:
        raise ValueError("a task run that never started has no span")
    # Prefect's moments are in UTC. Asking their time zone for its offset takes as long as all this.
    if getattr(moment.tzinfo, "key", None) != "UTC":
        moment = moment.astimezone(UTC)
    minutes = (moment.toordinal() - _EPOCH) * 1440 + moment.hour * 60 + moment.minute
    return (minutes * 60 + moment.second) * 1_000_000_000 + moment.microsecond * 1_000


def _identity(task_run: TaskRun) -> dict[str, Any]:
    own = task_run.labels
    return {
        "task.id": str(task_run.id),
        "task.type": own[labels.TASK_TYPE],
        "task.name": own[labels.TASK_NAME],
    }


def _is_full(span: Any, tags: int) -> tuple[bool, bool]:
    """Say whether so many tags, and an event, take the place of the oldest: those of the start."""
    limits = getattr(span, "_limits", None)
    if limits is None:  # not the SDK's
        return False, False
    attributes, events = limits.max_span_attributes, limits.max_events
    return (
        attributes is not None and len(span._attributes) + tags > attributes,
        events is not None and len(span._events) >= events,
    )


def _forget_status(span: Span) -> None:
    # The SDK keeps the first Ok for ever, and a body may set one before its run fails.
    if hasattr(span, "_status"):
        span._status = Status(StatusCode.UNSET)


@lru_cache(maxsize=64)  # the same for all task runs of a flow run
def _of_flow_run(flow_run_id: UUID, name: str, deployment_id: UUID | None) -> dict[str, Any]:
    origin = {"prefect.flow_run.id": str(flow_run_id), "prefect.flow_run.name": name}
    if deployment_id:
        origin["prefect.deployment.id"] = str(deployment_id)
    if pages := _pages():
        origin["prefect.flow_run.url"] = f"{pages}/runs/flow-run/{flow_run_id}"
    return origin


def _pages() -> str | None:
    settings = get_current_settings()
    if not settings.ui_url:
        return None
    # Prefect derives it from the API's address; a server has the pages of its older UI there.
    derived = "ui_url" not in settings.model_fields_set and not settings.connected_to_cloud
    return settings.ui_url.rstrip("/") + ("/v2" if derived else "")


def _caller(task_run: TaskRun) -> Context:
    # An empty context, not the current one: the labels alone decide, so that every process agrees.
    caller = task_run.labels.get(labels.TRACEPARENT)
    if not caller:
        return Context()
    return _propagator.extract({"traceparent": str(caller)}, context=Context())


def context_of(task_run: TaskRun) -> SpanContext:
    """Return the ids that the span of a task run has."""
    caller = trace.get_current_span(_caller(task_run)).get_span_context()
    trace_id = (
        caller.trace_id if caller.is_valid else ids.trace_id_of(task_run.id, task_run.flow_run_id)
    )
    return SpanContext(trace_id, ids.span_id_of(task_run.id), is_remote=False)
