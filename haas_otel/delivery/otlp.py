"""One request by OTLP, and what its answer means.

The ecosystem's exporters try again by themselves, for as long as their time-out lets them, and say
of the answer only whether all was taken. So what they have been made with (address, TLS, headers,
compression) is used, and what they do with it is not. Their private names stand here alone.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Signal = Literal["TRACES", "METRICS", "LOGS"]
# Below the 4 MiB that gRPC takes by default.
REQUEST_BYTES = 3 * 1024 * 1024
_ELSEWHERE = frozenset(("401", "403", "404", "405", "501"))
_ELSEWHERE_GRPC = frozenset(("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"))
_AGAIN = frozenset(("408", "429", "502", "503", "504"))


class Kind(enum.Enum):
    """What an answer means for what was sent."""

    TAKEN = enum.auto()
    TOO_LARGE = enum.auto()  # for one request
    REFUSED = enum.auto()  # for what is in it: the same again will be refused again
    FAILED = enum.auto()  # for a reason that may be in it, or not
    THROTTLED = enum.auto()  # until a moment that the collector has named
    UNREACHABLE = enum.auto()  # no answer, or one that has nothing to do with what was sent


@dataclass(frozen=True)
class Answer:
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
        self._encode, self._empty, self._response = _messages(signal)
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

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def _by_grpc(self, request: Any) -> Answer:
        import grpc

        exporter = self._exporter
        try:
            response = exporter._client.Export(
                request=request, metadata=exporter._headers, timeout=exporter._timeout
            )
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAVAILABLE:
                # Or the channel would not try to connect for up to two minutes.
                exporter._channel.close()
                exporter._initialize_channel_and_stub()
            return _of_grpc(error)
        return _taken(response)

    def _by_http(self, request: Any) -> Answer:
        client = self._exporter._client
        data = client._compress(request.SerializePartialToString())
        result = client._submit(data, client._timeout)
        if result.status_code is None:
            return Answer(Kind.UNREACHABLE, str(result.error or result.reason))
        if 200 <= result.status_code < 300:
            return _taken(self._parsed(result.content()))
        return _of_http(result)

    def _parsed(self, content: bytes) -> Any:
        try:
            return self._response.FromString(content)
        except Exception:  # noqa: BLE001 - not all that answer 200 answer by the protocol
            return self._response()


def _messages(signal: Signal) -> tuple[Any, Any, Any]:
    if signal == "TRACES":
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages

        return encode, messages.ExportTraceServiceRequest, messages.ExportTraceServiceResponse
    if signal == "METRICS":
        from opentelemetry.exporter.otlp.proto.common import metrics_encoder
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

        return (
            metrics_encoder.encode_metrics,
            metrics_service_pb2.ExportMetricsServiceRequest,
            metrics_service_pb2.ExportMetricsServiceResponse,
        )
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

    return (
        encode_logs,
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
    )


def _taken(response: Any) -> Answer:
    partial = response.partial_success
    rejected = sum(value for field, value in partial.ListFields() if field.name != "error_message")
    return Answer(Kind.TAKEN, partial.error_message, rejected=rejected)


def _of_grpc(error: Any) -> Answer:
    code, reason = error.code().name, f"{error.code().name}: {error.details()}"
    wait = _retry_info(error)
    if code in _ELSEWHERE_GRPC or code in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return Answer(Kind.UNREACHABLE, reason, code)
    if wait is not None:
        return Answer(Kind.THROTTLED, reason, code, wait)
    kinds = {
        "RESOURCE_EXHAUSTED": Kind.TOO_LARGE,
        "INVALID_ARGUMENT": Kind.REFUSED,
        "OUT_OF_RANGE": Kind.TOO_LARGE,
    }
    return Answer(kinds.get(code, Kind.FAILED), reason, code)


def _retry_info(error: Any) -> float | None:
    from google.rpc.error_details_pb2 import RetryInfo

    metadata = dict(error.trailing_metadata() or ())
    if (sent := metadata.get("google.rpc.retryinfo-bin")) is None:
        return _retry_info_of_status(metadata.get("grpc-status-details-bin"))
    delay = RetryInfo.FromString(sent).retry_delay
    return float(delay.seconds + delay.nanos / 1e9)


def _retry_info_of_status(sent: bytes | None) -> float | None:
    """Read it where the protocol has it; the SDK looks for it elsewhere."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    if sent is not None:
        info = RetryInfo()
        for detail in Status.FromString(sent).details:
            if detail.Unpack(info):
                return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None


def _of_http(result: Any) -> Answer:
    code = str(result.status_code)
    reason = f"{code} {result.reason or ''}".rstrip()
    if code in _AGAIN:
        wait = _retry_after(result.headers().get("Retry-After"))
        if wait is not None:
            return Answer(Kind.THROTTLED, reason, code, wait)
        return Answer(Kind.FAILED, reason, code)
    if code in _ELSEWHERE or code[0] in "13":
        return Answer(Kind.UNREACHABLE, reason, code)
    kinds = {"413": Kind.TOO_LARGE, "400": Kind.REFUSED, "422": Kind.REFUSED}
    return Answer(kinds.get(code, Kind.FAILED), reason, code)


def _retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header names, in one of its two forms."""
    from email.utils import parsedate_to_datetime

    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
