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
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prefect.settings import get_current_settings

from haas_otel import ids, labels
from haas_otel._settings import settings

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.trace import Span, Tracer, TracerProvider
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

CANCELLED_MESSAGE = "Task was cancelled"
MAX_MESSAGE = 8_000
MAX_STACKTRACE = 32_000

# By the ids of the flow runs that go on in this process.
outermost_of: dict[UUID, UUID] = {}
# W3C traceparents by the ids of the runs that they called, of the last that this process met.
_callers: dict[UUID, str] = {}
_MAX_CALLERS = 1_000

_logger = logging.getLogger(__name__)
_OK = Status(StatusCode.OK)
_EPOCH = date(1970, 1, 1).toordinal()
_propagator = TraceContextTextMapPropagator()
_prepare: Callable[[TracerProvider | None], object] = lambda _: None  # noqa: E731
_before_exit: Callable[[], object] = lambda: None  # noqa: E731
_tracer: Tracer | None = None
_provider: TracerProvider | None = None  # the one that was given, if any
_tracer_lock = threading.Lock()


class Ending(NamedTuple):
    """How a task run ended. ``at`` is in nanoseconds since the epoch."""

    status: Literal["Completed", "Failed", "Cancelled"]
    at: int
    message: str = ""
    exception_type: str | None = None
    stacktrace: str | None = None


class Run(NamedTuple):
    """What the span of a started task run says from its start on; ``start`` in ns since the epoch.

    ``root_id`` is the outermost flow run of its process, ``caller`` a W3C traceparent.
    """

    task_run_id: UUID
    flow_run_id: UUID | None
    root_id: UUID | None
    task_key: str
    caller: str | None
    start: int
    attributes: dict[str, Any]

    @property
    def trace_id(self) -> int:
        """The trace that the span is in."""
        return _trace_id(self.caller, self.task_run_id, self.flow_run_id)

    @property
    def span_id(self) -> int:
        """The id that the span has in every process."""
        return ids.span_id_of(self.task_run_id)

    @property
    def key(self) -> str:
        """The key of its start record."""
        return f"{self.span_id:016x}"


def set_up_with(
    prepare: Callable[[TracerProvider | None], object], before_exit: Callable[[], object]
) -> None:
    """Have ``prepare`` called before the first span of a process, ``before_exit`` at its end."""
    global _prepare, _before_exit
    _prepare, _before_exit = prepare, before_exit


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
                _prepare(_provider)
                _tracer = trace.get_tracer(settings.scope, package_version(), _provider)
                # After the set-up, so that it runs before the provider's own shutdown.
                atexit.register(_before_exit)
    return _tracer


def use_provider(provider: TracerProvider) -> None:
    """Have spans that start from now on go to this provider."""
    global _tracer, _provider
    with _tracer_lock:
        if _tracer is not None and _provider is not provider:
            before = _provider or trace.get_tracer_provider()
            _logger.warning(
                "A tracer provider is given after the first task: the spans of tasks that began"
                " before go to %s, those that begin from now on to %s",
                *(type(each).__qualname__ for each in (before, provider)),
            )
        _provider, _tracer = provider, None


def package_version() -> str:
    """Return the version that the scope carries."""
    try:
        return version("haas-otel")
    except PackageNotFoundError:  # a checkout on the path, never installed
        return "0"


def introduce(
    task_run: TaskRun,
    flow_run: FlowRun | None,
    *,
    task_type: str,
    task_name: str,
    machine: str | None = None,
) -> None:
    """Put on a task run's labels what its span needs, before it enters Running."""
    own = task_run.labels
    own[labels.TASK_TYPE] = task_type
    own[labels.TASK_NAME] = task_name[: labels.MAX_MESSAGE]
    if machine:
        own[labels.MACHINE] = machine
    if flow_run is not None and not isinstance(flow_run.labels, CallerLabels):
        flow_run.labels = CallerLabels(flow_run.labels)
    # Where the label is there already, Prefect's own span of this run is the caller.
    if labels.TRACEPARENT not in own:
        caller = flow_run.labels.get(labels.TRACEPARENT) if flow_run else traceparent()
        if caller:
            own[labels.TRACEPARENT] = str(caller)
    remember_caller(task_run)


def remember_caller(run: TaskRun | FlowRun) -> None:
    """Note who called a run, for the lines that are logged of it when it is out of reach."""
    if caller := dict.get(run.labels, labels.TRACEPARENT):
        _callers[run.id] = str(caller)
        if len(_callers) > _MAX_CALLERS:
            _callers.pop(next(iter(_callers)), None)


def trace_of(task_run_id: UUID | None, flow_run_id: UUID | None) -> int:
    """Return the trace that a run's spans are in, as far as this process knows; one is given."""
    known = _callers.get(task_run_id or flow_run_id) or _callers.get(flow_run_id)  # type: ignore[arg-type]
    return _trace_id(known, task_run_id, flow_run_id)


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


def run_of(task_run: TaskRun, flow_run: FlowRun | None) -> Run:
    """Return what the record of a started task run says of its span."""
    own = task_run.labels
    attributes = {
        "task.id": str(task_run.id),
        "task.type": own[labels.TASK_TYPE],
        "task.name": own[labels.TASK_NAME],
    }
    if flow_run is not None:
        attributes.update(_of_flow_run(flow_run.id, flow_run.name, flow_run.deployment_id))
        attributes["prefect.attempt"] = task_run.flow_run_run_count or flow_run.run_count
    caller = own.get(labels.TRACEPARENT)
    return Run(
        task_run.id,
        task_run.flow_run_id,
        outermost(task_run.flow_run_id) if task_run.flow_run_id else None,
        task_run.task_key,
        str(caller) if caller else None,
        nanoseconds(task_run.start_time),
        attributes,
    )


def outermost(flow_run_id: UUID) -> UUID:
    """Return the outermost flow run of this process in which a flow run goes on."""
    if known := outermost_of.get(flow_run_id):
        return known
    own = environ.get("PREFECT__FLOW_RUN_ID")
    return UUID(own) if own else flow_run_id


def start(run: Run) -> Span:
    """Start the span of a task run."""
    trace_id = ids.trace_id_of(run.task_run_id, run.flow_run_id)
    with ids.chosen(trace_id, ids.span_id_of(run.task_run_id)):
        span = tracer().start_span(
            f"BackgroundTask.{run.attributes['task.type']}",
            # Not the current context: the caller on record alone decides, in every process alike.
            context=_context(run.caller),
            kind=SpanKind.INTERNAL,
            attributes=run.attributes,
            start_time=run.start,
        )
    span.add_event("task.started", timestamp=run.start)
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


def end(span: Span, run: Run, ending: Ending) -> None:
    """End the span: status, tags and the closing event, by the contract."""
    started = run.start
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
    attributes_full, events_full = _is_full(span, run.attributes, tags)
    span.set_attributes(run.attributes | tags if attributes_full else tags)
    if ending.status == "Completed":
        span.set_status(_OK)
    else:
        # The SDK may have cut it, by the limit that is set for values.
        message = (getattr(span, "attributes", None) or {}).get("exception.message")
        _forget_status(span)
        span.set_status(Status(StatusCode.ERROR, str(message or ending.message)))
    if events_full:
        span.add_event("task.started", timestamp=started)
    span.add_event(f"task.{ending.status.lower()}", timestamp=at)
    span.end(at)


def ending_of(state: State[Any]) -> Ending:
    """Return the ending that a state tells: Completed, Failed, or Cancelled for what was stopped.

    A body that returns a state which is not final has done what it wanted: Completed.
    """
    at = nanoseconds(state.timestamp)
    if state.is_failed():
        return failed(exception_in(state), at, state.message)
    if state.is_cancelled() or state.is_crashed():
        return cancelled(at)
    return Ending("Completed", at)


def cancelled(at: int) -> Ending:
    """Return the ending of a task run that a user or the system stopped."""
    return Ending("Cancelled", at, CANCELLED_MESSAGE)


def failed(exception: BaseException | None, at: int, message: str | None = None) -> Ending:
    """Return the ending of a task run that failed; ``message`` where there is no exception."""
    if exception is None:
        said = shortened(message or "Run failed.", MAX_MESSAGE)
        return Ending("Failed", at, said, "prefect.exceptions.FailedRun")
    name, whole = type_name(exception), str(exception)
    said = shortened(whole, MAX_MESSAGE)
    stacktrace = "".join(traceback.format_exception(exception))
    if said != whole:
        stacktrace = stacktrace.replace(whole, said)
    # Its end is where the cause is.
    return Ending("Failed", at, said or name, name, shortened(stacktrace, -MAX_STACKTRACE))


def crashed(at: int, message: str | None) -> Ending:
    """Return the ending of a task run whose process died; Prefect's message tells how."""
    said = shortened(message or "The run's process died.", MAX_MESSAGE)
    return Ending("Failed", at, said, "prefect.exceptions.CrashedRun")


def shortened(text: str, most: int) -> str:
    """Return text of at most so many bytes: the beginning of it, or the end if negative."""
    if len(text) * 4 <= abs(most):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= abs(most):
        return text
    kept = raw[: most - 3] if most > 0 else raw[most + 3 :]
    shown = kept.decode("utf-8", "ignore")
    return f"{shown}…" if most > 0 else f"…{shown}"


def exception_in(state: State[Any]) -> BaseException | None:
    """Return the exception a state holds in this process, whether or not it is persisted."""
    data = getattr(state.data, "result", state.data)
    return data if isinstance(data, BaseException) else None


def type_name(exception: BaseException) -> str:
    """Return the module-qualified name of an exception's type, bare for builtins."""
    kind = type(exception)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def nanoseconds(moment: dt.datetime | None) -> int:
    """Return a moment in nanoseconds since the epoch, exact to its microsecond."""
    if moment is None:
        raise ValueError("a task run that never started has no span")
    # Prefect's moments are in UTC. Asking their time zone for its offset takes as long as all this.
    if getattr(moment.tzinfo, "key", None) != "UTC":
        moment = moment.astimezone(UTC)
    minutes = (moment.toordinal() - _EPOCH) * 1440 + moment.hour * 60 + moment.minute
    return (minutes * 60 + moment.second) * 1_000_000_000 + moment.microsecond * 1_000


def is_ours(attribute: str) -> bool:
    """Say whether an attribute is the contract's, or one of Prefect's: not for bodies to set."""
    return attribute.startswith(("task.", "prefect.", "exception."))


class BodySpan(trace.NonRecordingSpan):
    """The span as a task's body meets it: it can add to it, and not undo the contract.

    Its name, status, end and the contract's attributes are not the body's.
    """

    def __init__(self, span: Span) -> None:
        super().__init__(span.get_span_context())
        self._span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)

    def is_recording(self) -> bool:
        """Say whether what is added is kept."""
        return self._span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute that is not the contract's."""
        if not is_ours(key):
            self._span.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes that are not the contract's."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event that is not the contract's."""
        if not name.startswith("task."):
            self._span.add_event(name, attributes, timestamp)

    def add_link(self, context: Any, attributes: Any = None) -> None:
        """Add a link."""
        self._span.add_link(context, attributes)


def _is_full(span: Any, own: dict[str, Any], tags: dict[str, Any]) -> tuple[bool, bool]:
    """Say whether tags, and an event, take the place of the oldest: those of the start.

    There is room for the contract's at least, whatever the SDK's limit. What is used here of the
    SDK is private.
    """
    limits = getattr(span, "_limits", None)
    if limits is None:  # not the SDK's
        return False, False
    attributes, most = span._attributes, span._attributes.maxlen
    full = most is not None and len(attributes) + len(tags) > most
    if full:
        attributes.maxlen = max(most, len(own) + len(tags))
    return full, limits.max_events is not None and len(span._events) >= limits.max_events


def _forget_status(span: Span) -> None:
    # The SDK keeps the first Ok for ever, and who holds the span itself may have set one.
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


def _context(caller: str | None) -> Context:
    return _propagator.extract({"traceparent": caller}, context=Context()) if caller else Context()


def _trace_id(caller: str | None, task_run_id: UUID | None, flow_run_id: UUID | None) -> int:
    called = trace.get_current_span(_context(caller)).get_span_context()
    return called.trace_id if called.is_valid else ids.trace_id_of(task_run_id, flow_run_id)
