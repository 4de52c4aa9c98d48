"""What is used of OpenTelemetry's SDK that it does not call public, each with why.

A version that lacks one of these says so in a test, not in somebody's run.
"""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Status, StatusCode

try:
    from opentelemetry.instrumentation.log_utils import std_to_otel as std_to_otel
except ImportError:  # before 0.65b0 the SDK had it
    from opentelemetry.sdk._logs._internal import std_to_otel as std_to_otel

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from opentelemetry.sdk.trace.sampling import ParentBased, Sampler

_LEAST_EVENTS = 2  # of the contract: the start and the end
_SET_UP, _EXPORT = "opentelemetry.sdk._configuration", "opentelemetry.sdk._logs.export"
# Where names are that are imported when they are first used: it takes long.
NAMES = {
    # The set-up from the OTEL_* variables is public as a whole alone, with the SDK's own export.
    "_OTelSDKConfigurator": _SET_UP,
    "_init_tracing": _SET_UP,
    "_get_sampler": _SET_UP,
    "_import_sampler": _SET_UP,
    "_get_tracer_configurator": _SET_UP,
    "_import_tracer_configurator": _SET_UP,
    "_get_id_generator": _SET_UP,
    "_import_id_generator": _SET_UP,
    # Exporters by their names in the variables: ours are made in the thread that sends.
    "_get_exporter_entry_point": _SET_UP,
    "_import_exporters": _SET_UP,
    # Logs are experimental in Python: all of them have an underscore.
    "LogRecord": "opentelemetry._logs",
    "LoggerProvider": "opentelemetry.sdk._logs",
    "ReadableLogRecord": "opentelemetry.sdk._logs",
    "BatchLogRecordProcessor": _EXPORT,
    "LogRecordExporter": _EXPORT,
    "LogRecordExportResult": _EXPORT,
    # What sends telemetry is not itself to be told of as telemetry.
    "_SUPPRESS_INSTRUMENTATION_KEY": "opentelemetry.context",
}
# The encoder of log records, beside ``trace_encoder``, for the same reason.
LOG_ENCODER = "_log_encoder"


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(NAMES[name]), name)
    return found


def with_root(sampler: ParentBased, change: Callable[[Sampler], Sampler]) -> ParentBased:
    """Return a sampler whose decision on spans without a parent is changed.

    It has no way to be asked for that, nor for the other four.
    """
    root = change(sampler._root)
    if root is not sampler._root:
        sampler = copy(sampler)
        sampler._root = root
    return sampler


def make_room(span: Any, own: dict[str, Any], tags: dict[str, Any]) -> tuple[bool, int | None]:
    """Say whether tags take the place of the oldest, those of the start, and so does an event.

    There is room for the contract's at least, whatever limit is set: the SDK drops the oldest. If
    there are too many events, the contract's are taken away, and how many fit is returned.
    """
    limits = getattr(span, "_limits", None)
    if limits is None:  # not the SDK's
        return False, None
    attributes, most = span._attributes, span._attributes.maxlen
    full = most is not None and len(attributes) + len(tags) > most
    if full:
        attributes.maxlen = max(most, len(own) + len(tags))
    events = span._events
    if limits.max_events is None or len(events) < limits.max_events:
        return full, None
    room = max(limits.max_events, _LEAST_EVENTS)
    others = [event for event in events if not event.name.startswith("task.")]
    span._events = BoundedList.from_seq(room, others)
    span._events.dropped = events.dropped
    return full, room


def forget_status(span: Any) -> None:
    """Let the next status count: the SDK keeps the first Ok, which a body may have set."""
    if hasattr(span, "_status"):
        span._status = Status(StatusCode.UNSET)


def preferred(exporter: Any) -> tuple[dict[type, Any], Any]:
    """Return the temporality and the aggregation that an exporter of metrics was made for.

    The SDK's readers ask for them, in its own package.
    """
    return dict(exporter._preferred_temporality or {}), exporter._preferred_aggregation


def shut_down_in(processor: Any, timeout: timedelta) -> None:
    """Shut a processor of log records down in this time: publicly it takes 30 seconds."""
    processor._batch_processor.shutdown(int(timeout.total_seconds() * 1000))


# OTLP exporters try again by themselves, for as long as their time-out lets them, and say of the
# answer only whether all was taken. So what they have been made with (address, TLS, headers,
# compression) is used, and what they do with it is not.


def is_over_grpc(exporter: Any) -> bool:
    """Say whether an OTLP exporter is made for gRPC: the others have another client."""
    return hasattr(exporter, "_translate_data")


def call(exporter: Any, request: Any) -> Any:
    """Send one request by gRPC, and return the answer; raises grpc.RpcError."""
    return exporter._client.Export(
        request=request, metadata=exporter._headers, timeout=exporter._timeout
    )


def reconnect(exporter: Any) -> None:
    """Have a new connection made: the old one would not try to for up to two minutes."""
    exporter._channel.close()
    exporter._initialize_channel_and_stub()


class Posted(NamedTuple):
    """What was answered to a request over HTTP; without a status nobody answered."""

    status: int | None
    reason: str
    retry_after: str | None = None
    content: bytes = b""


def post(exporter: Any, request: Any) -> Posted:
    """Send one request by HTTP, once."""
    data = request.SerializePartialToString()
    if (client := getattr(exporter, "_client", None)) is None:  # before 1.45
        return _post_by_requests(exporter, data)
    result = client._submit(client._compress(data), client._timeout)
    if result.status_code is None:
        return Posted(None, str(result.error or result.reason))
    wait = result.headers().get("Retry-After")
    return Posted(result.status_code, result.reason or "", wait, result.content())


def _post_by_requests(exporter: Any, data: bytes) -> Posted:
    import requests

    try:
        result = exporter._export(data, exporter._timeout)
    except requests.RequestException as error:
        return Posted(None, str(error))
    if result.request.method != "POST":  # what answers is a page that it was sent on to
        result = result.history[0]
    wait = result.headers.get("Retry-After")
    return Posted(result.status_code, result.reason or "", wait, result.content)
