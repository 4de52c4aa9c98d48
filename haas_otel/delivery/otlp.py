"""One request by OTLP, and what its answer means.

The ecosystem's exporters try again by themselves, for as long as their time-out lets them, and say
of the answer only whether all was taken. So what they have been made with (address, TLS, headers,
compression) is used, and what they do with it is not. Their private names stand here alone.
"""

from __future__ import annotations

import enum
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from haas_otel.delivery.limits import REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

Signal = Literal["TRACES", "METRICS", "LOGS"]
_COMMON, _COLLECTOR = "opentelemetry.exporter.otlp.proto.common", "opentelemetry.proto.collector"
# Where the encoder of each is, its name, and where the messages are.
_MESSAGES = {
    "TRACES": ("trace_encoder", "encode_spans", "trace.v1.trace_service_pb2", "Trace"),
    "METRICS": ("metrics_encoder", "encode_metrics", "metrics.v1.metrics_service_pb2", "Metrics"),
    "LOGS": ("_log_encoder", "encode_logs", "logs.v1.logs_service_pb2", "Logs"),
}


class Kind(enum.Enum):
    """What an answer means for what was sent."""

    TAKEN = enum.auto()
    TOO_LARGE = enum.auto()  # for one request
    REFUSED = enum.auto()  # for what is in it: the same again will be refused again
    FAILED = enum.auto()  # for a reason that may be in it, or not
    THROTTLED = enum.auto()  # until a moment that the collector has named
    UNREACHABLE = enum.auto()  # no answer, or one that has nothing to do with what was sent


_BY_CODE = {
    **dict.fromkeys(("RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "413"), Kind.TOO_LARGE),
    **dict.fromkeys(("INVALID_ARGUMENT", "400", "422"), Kind.REFUSED),
    **dict.fromkeys(
        ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "CANCELLED"),
        Kind.UNREACHABLE,
    ),
    **dict.fromkeys(("401", "403", "404", "405", "501"), Kind.UNREACHABLE),
}
_AGAIN = frozenset(("429", "503"))


class Answer(NamedTuple):
    """What became of a request; ``wait`` in seconds, ``rejected`` of a request taken in part.

    ``code`` is the status of HTTP or the name of gRPC's.
    """

    kind: Kind
    reason: str = ""
    code: str = ""
    wait: float = 0.0
    rejected: int = 0


TAKEN = Answer(Kind.TAKEN)


class Otlp:
    """Sends what one of the ecosystem's OTLP exporters, for any signal, has been made for."""

    def __init__(self, exporter: Any, signal: Signal) -> None:
        self._exporter = exporter
        encoder, encode, messages, name = _MESSAGES[signal]
        found = import_module(f"{_COLLECTOR}.{messages}")
        self._encode = getattr(import_module(f"{_COMMON}.{encoder}"), encode)
        self._empty = getattr(found, f"Export{name}ServiceRequest")
        self._response = getattr(found, f"Export{name}ServiceResponse")
        over_grpc = hasattr(exporter, "_translate_data")
        self._request: Callable[[Any], Answer] = self._by_grpc if over_grpc else self._by_http

    def send(self, batch: Any, *, divisible: bool = False) -> Answer:
        """Send spans, log records or metrics, in one request. Raises what their encoding does.

        What is ``divisible`` is not sent when it is longer than 3 MiB: it is too large.
        """
        request = self._encode(batch)
        if divisible and request.ByteSize() > REQUEST_BYTES:
            return Answer(Kind.TOO_LARGE)
        return self._request(request)

    def probe(self) -> Answer:
        """Send nothing, to learn whether somebody takes it."""
        return self._request(self._empty())

    def _by_grpc(self, request: Any) -> Answer:
        import grpc

        exporter = self._exporter
        try:
            response = exporter._client.Export(
                request=request, metadata=exporter._headers, timeout=exporter._timeout
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                # Or the channel would not try to connect for up to two minutes.
                exporter._channel.close()
                exporter._initialize_channel_and_stub()
            code = error.code().name
            return _refused(code, f"{code}: {error.details()}", _retry_info(error))
        return _taken(response)

    def _by_http(self, request: Any) -> Answer:
        client = self._exporter._client
        data = client._compress(request.SerializePartialToString())
        result = client._submit(data, client._timeout)
        if result.status_code is None:
            return Answer(Kind.UNREACHABLE, str(result.error or result.reason))
        code = str(result.status_code)
        if code[0] != "2":
            wait = _retry_after(result.headers().get("Retry-After")) if code in _AGAIN else None
            return _refused(code, f"{code} {result.reason or ''}".rstrip(), wait)
        try:
            return _taken(self._response.FromString(result.content()))
        except Exception:  # noqa: BLE001 - not all that answer 200 answer by the protocol
            return TAKEN


def _taken(response: Any) -> Answer:
    partial = response.partial_success
    rejected = sum(value for field, value in partial.ListFields() if field.name != "error_message")
    return Answer(Kind.TAKEN, partial.error_message, rejected=rejected)


def _refused(code: str, reason: str, wait: float | None) -> Answer:
    kind = _BY_CODE.get(code, Kind.UNREACHABLE if code[0] in "13" else Kind.FAILED)
    if wait is not None and kind is not Kind.UNREACHABLE:
        return Answer(Kind.THROTTLED, reason, code, wait)
    return Answer(kind, reason, code)


def _retry_info(error: Any) -> float | None:
    """Return the seconds that a gRPC answer names, where the protocol or the SDK has it."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    metadata, info = dict(error.trailing_metadata() or ()), RetryInfo()
    if sent := metadata.get("google.rpc.retryinfo-bin"):
        info.ParseFromString(sent)
    else:
        details = Status.FromString(metadata.get("grpc-status-details-bin", b"")).details
        if not any(detail.Unpack(info) for detail in details):
            return None
    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)


def _retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header names, in one of its two forms."""
    from email.utils import parsedate_to_datetime

    if text is None or text.strip().isdigit():
        return None if text is None else float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
