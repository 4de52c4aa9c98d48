"""The span of a task run: the one code path that makes it, in whatever process that runs."""

from __future__ import annotations

import atexit
import json
import logging
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from os import environ, getpid
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from prefect.settings import get_current_settings

from haas_otel import _prefect, _sdk, ended_by, ids, records
from haas_otel._settings import settings
from haas_otel.ids import TRACEPARENT
from haas_otel.records import Run

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.trace import Span, Tracer, TracerProvider
    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.tasks import Task

    from haas_otel.ended_by import By

CANCELLED_MESSAGE = "Task was cancelled"
MAX_MESSAGE = 8_000
MAX_STACKTRACE = 32_000

_logger = logging.getLogger(__name__)
_OK = Status(StatusCode.OK)
_EPOCH = date(1970, 1, 1).toordinal()
# Called before the first span of a process, with the provider that was given, and at its end.
prepare: Callable[[TracerProvider | None], object] = lambda _: None  # noqa: E731
before_exit: Callable[[], object] = lambda: None  # noqa: E731
# Called when nothing follows in this process, and its exit functions are not called.
deliver_last: Callable[[], None] = lambda: None  # noqa: E731
# Called when a task run of this process has started.
announce: Callable[[Span, Run], object] = lambda _, __: None  # noqa: E731
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
    by: By | None = None  # who ended it; None of a cancellation: not known yet


@dataclass(slots=True)
class LiveSpan:
    """A span whose task run this process runs."""

    span: Span
    run: Run
    task: Task[..., Any]
    task_run: TaskRun
    attempt: UUID  # the id of the Running state
    pid: int
    disk: records.Disk | None = None
    retries: tuple[records.Retry, ...] = ()
    in_body: bool = False
    interrupt: Callable[[], object] | None = None  # from another thread; of a run without a flow
    ended_by: By | None = None  # who has interrupted it, where that is known


# The one registry, by task run. A forked child has its parent's entries, and leaves them alone.
live: dict[UUID, LiveSpan] = {}


def without_flow() -> list[LiveSpan]:
    """Return those of this process that are within no flow run of it, as a task worker's."""
    found = list(live.values())
    return [each for each in found if each.run.root_id is None and each.pid == getpid()]


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
    """Say whether task spans are wanted, and can be: neither the SDK nor this one is off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    disabled = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    if disabled and not {"haas_otel", "*"}.isdisjoint(map(str.strip, disabled.split(","))):
        return False
    return is_possible()


@cache
def is_possible() -> bool:
    """Say whether this system has the locks that tell who lives; said once where it has not."""
    if sys.platform == "linux":
        return True
    _logger.warning("Tasks leave no spans here: these need locks that only Linux has")
    return False


def tracer() -> Tracer:
    """Return the tracer of the scope, after the set-up."""
    global _tracer
    if _tracer is None:
        with _tracer_lock:
            if _tracer is None:
                prepare(_provider)
                _tracer = trace.get_tracer(settings.scope, package_version(), _provider)
                # After the set-up, so that it runs before the provider's own shutdown.
                atexit.register(before_exit)
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
    task_run: TaskRun, flow_run: FlowRun | None, *, task_type: str, task_name: str
) -> None:
    """Put on a task run's labels what its span needs, before it enters Running."""
    labels = task_run.labels
    labels[records.TASK_TYPE] = task_type
    labels[records.TASK_NAME] = task_name[: records.MAX_MESSAGE]
    if task_run.state is not None and task_run.state.state_details.deferred:
        labels[records.DEFERRED] = True
    if flow_run is not None:
        _prefect.name_callers(flow_run)
    # Where the label is there already, Prefect's own span of this run is the caller.
    if TRACEPARENT not in labels and (caller := ids.caller_in(flow_run)):
        labels[TRACEPARENT] = caller
    ids.remember_caller(task_run)


def run_of(task_run: TaskRun, flow_run: FlowRun | None, root_id: UUID | None = None) -> Run:
    """Return what the record of a started task run says of its span."""
    labels = task_run.labels
    attributes = {
        "task.id": str(task_run.id),
        "task.type": labels[records.TASK_TYPE],
        "task.name": labels[records.TASK_NAME],
    }
    if flow_run is not None:
        attributes.update(_of_flow_run(flow_run.id, flow_run.name, flow_run.deployment_id))
        attributes["prefect.attempt"] = task_run.flow_run_run_count or flow_run.run_count
    if told := labels.get(records.HISTORY):
        attributes.update(json.loads(str(told)))
    caller = labels.get(TRACEPARENT)
    return Run(
        task_run.id,
        task_run.flow_run_id,
        root_id,
        task_run.task_key,
        str(caller) if caller else None,
        nanoseconds(task_run.start_time),
        attributes,
    )


def start(run: Run) -> Span:
    """Start the span of a task run."""
    token = ids.chosen.set((ids.trace_id_of(run.task_run_id, run.flow_run_id), run.span_id))
    try:
        span = tracer().start_span(
            f"BackgroundTask.{run.attributes['task.type']}",
            context=ids.context_of(run.caller),
            kind=SpanKind.INTERNAL,
            attributes=run.attributes,
            links=_links(run),
            start_time=run.start,
        )
    finally:
        ids.chosen.reset(token)
    span.add_event("task.started", timestamp=run.start)
    return span


def retrying(span: Span, retry: records.Retry) -> None:
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


def end(span: Span, run: Run, ending: Ending, retries: tuple[records.Retry, ...] = ()) -> None:
    """End the span: status, tags and the closing event, by the contract."""
    started = run.start
    at = max(ending.at, started, *(retry.at for retry in retries))  # the clock may be set back
    tags: dict[str, Any] = {
        "task.status": ending.status,
        "task.duration_ms": (at - started) / 1e6,
        "prefect.ended_by": ending.by or ended_by.by_exception(ending.exception_type),
    }
    if ending.status == "Failed" and ending.exception_type:
        tags["exception.type"] = ending.exception_type
        tags["exception.message"] = ending.message
        if ending.stacktrace:
            tags["exception.stacktrace"] = ending.stacktrace
    attributes_full, room = _sdk.make_room(span, run.attributes, tags)
    span.set_attributes(run.attributes | tags if attributes_full else tags)
    if ending.status == "Completed":
        span.set_status(_OK)
    else:
        # The SDK may have cut it, by the limit that is set for values.
        message = (getattr(span, "attributes", None) or {}).get("exception.message")
        _sdk.forget_status(span)
        span.set_status(Status(StatusCode.ERROR, str(message or ending.message)))
    if room is not None:
        span.add_event("task.started", timestamp=started)
        for retry in retries[max(0, len(retries) + 2 - room) :]:
            retrying(span, retry)
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
        exception = exception_in(state)
        return cancelled(at, ended_by.by_interruption(exception) if exception else "self")
    return Ending("Completed", at)


def cancelled(at: int, by: By | None = "user") -> Ending:
    """Return the ending of a task run that a user or the system stopped."""
    return Ending("Cancelled", at, CANCELLED_MESSAGE, by=by)


def failed(exception: BaseException | None, at: int, message: str | None = None) -> Ending:
    """Return the ending of a task run that failed; ``message`` where there is no exception."""
    if exception is None:
        said = shortened(message or "Run failed.", MAX_MESSAGE)
        return Ending("Failed", at, said, "prefect.exceptions.FailedRun")
    kind, whole = type(exception), ""
    with suppress(Exception):  # its own, which may be broken
        whole = str(exception)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    said = shortened(whole, MAX_MESSAGE)
    stacktrace = ""
    with suppress(Exception):
        stacktrace = "".join(traceback.format_exception(exception))
    if said != whole:
        stacktrace = stacktrace.replace(whole, said)
    # Its end is where the cause is.
    return Ending("Failed", at, said or name, name, shortened(stacktrace, -MAX_STACKTRACE))


def crashed(at: int, message: str | None) -> Ending:
    """Return the ending of a task run whose process died; Prefect's message tells how."""
    said = shortened(message or "The run's process died.", MAX_MESSAGE)
    return Ending("Failed", at, said, "prefect.exceptions.CrashedRun", by="crash")


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
    data = state.data
    if not isinstance(data, BaseException):  # which may have a result of its own
        data = getattr(data, "result", None)
    return data if isinstance(data, BaseException) else None


def nanoseconds(moment: dt.datetime | None) -> int:
    """Return a moment in nanoseconds since the epoch, exact to its microsecond."""
    if moment is None:
        raise ValueError("a task run that never started has no span")
    # Prefect's moments are in UTC. Asking their time zone for its offset takes as long as all this.
    if getattr(moment.tzinfo, "key", None) != "UTC":
        moment = moment.astimezone(UTC)
    minutes = (moment.toordinal() - _EPOCH) * 1440 + moment.hour * 60 + moment.minute
    return (minutes * 60 + moment.second) * 1_000_000_000 + moment.microsecond * 1_000


def is_ours(attribute: object) -> bool:
    """Say whether an attribute is the contract's, or one of Prefect's: not for bodies to set."""
    return str(attribute).startswith(("task.", "prefect.", "exception."))


class BodySpan(trace.NonRecordingSpan):
    """The span as a task's body meets it: it can add to it, and not undo the contract.

    Its name, status, end and the contract's attributes are not the body's.
    """

    def __init__(self, span: Span) -> None:
        super().__init__(span.get_span_context())
        self._span = span
        self.is_recording = span.is_recording  # type: ignore[method-assign]
        self.add_link = span.add_link  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute that is not the contract's."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes that are not the contract's."""
        self._span.set_attributes({k: v for k, v in attributes.items() if not is_ours(k)})

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event that is not the contract's."""
        if not str(name).startswith("task."):
            self._span.add_event(name, attributes, timestamp)


def _links(run: Run) -> list[Link] | None:
    """Return the link to the task run's span in the attempt before, which is in the same trace."""
    if (before := run.attributes.get(records.BEFORE)) is None:
        return None
    span_id, flags = ids.span_id_of(UUID(before)), TraceFlags(TraceFlags.SAMPLED)
    return [Link(SpanContext(run.trace_id, span_id, is_remote=True, trace_flags=flags))]


@lru_cache(maxsize=64)  # the same for all task runs of a flow run
def _of_flow_run(flow_run_id: UUID, name: str, deployment_id: UUID | None) -> dict[str, Any]:
    origin = {"prefect.flow_run.id": str(flow_run_id), "prefect.flow_run.name": name}
    if deployment_id:
        origin["prefect.deployment.id"] = str(deployment_id)
    prefects = get_current_settings()
    if pages := prefects.ui_url:
        # Prefect derives it from the API's address; a server has the pages of its older UI there.
        derived = "ui_url" not in prefects.model_fields_set and not prefects.connected_to_cloud
        version = "/v2" if derived else ""
        origin["prefect.flow_run.url"] = f"{pages.rstrip('/')}{version}/runs/flow-run/{flow_run_id}"
    return origin
