"""One request to an exporter, and what its answer means.

What the ecosystem's exporters have been made with is used, what they do with it is not: see
`haas_otel._sdk`.
"""

from __future__ import annotations

import enum
import logging
import re
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

from haas_otel import _sdk

_logger = logging.getLogger(__name__)
# Below the 4 MiB that gRPC takes by default.
REQUEST_BYTES = 3 * 1024 * 1024
_CREDENTIALS = re.compile(r"[^\s/@'\"]+@")  # of an address that an error names

Signal = Literal["TRACES", "METRICS", "LOGS"]
_COMMON, _COLLECTOR = "opentelemetry.exporter.otlp.proto.common", "opentelemetry.proto.collector"
# Where the encoder of each is, its name, and where the messages are.
_MESSAGES = {
    "TRACES": ("trace_encoder", "encode_spans", "trace.v1.trace_service_pb2", "Trace"),
    "METRICS": ("metrics_encoder", "encode_metrics", "metrics.v1.metrics_service_pb2", "Metrics"),
    "LOGS": (_sdk.LOG_ENCODER, "encode_logs", "logs.v1.logs_service_pb2", "Logs"),
}


class Kind(enum.Enum):
    """What an answer means for what was sent."""

    TAKEN = enum.auto()
    TOO_LARGE = enum.auto()  # for one request
    REFUSED = enum.auto()  # for what is in it: the same again will be refused again
    FAILED = enum.auto()  # for a reason that may be in it, or not
    THROTTLED = enum.auto()  # until a moment that the collector may have named
    UNANSWERED = enum.auto()
    UNREACHABLE = enum.auto()  # an answer that seldom has to do with what was sent


_KINDS = {
    Kind.TOO_LARGE: "RESOURCE_EXHAUSTED OUT_OF_RANGE 413",
    Kind.REFUSED: "INVALID_ARGUMENT 400 422",
    Kind.THROTTLED: "429",
    Kind.UNANSWERED: "DEADLINE_EXCEEDED CANCELLED",
    Kind.UNREACHABLE: "UNAUTHENTICATED PERMISSION_DENIED UNIMPLEMENTED 401 403 404 405 501",
}
_BY_CODE = {code: kind for kind, codes in _KINDS.items() for code in codes.split()}
# ... and those of a collector, or of what is before it, that has too much to do or is not there.
_OVERLOADED = frozenset(("UNAVAILABLE", "502", "503", "504"))
# The codes of a backend that is without a signal.
_WITHOUT = frozenset(("UNIMPLEMENTED", "404", "405"))


class Answer(NamedTuple):
    """What became of a request; ``wait`` in seconds, ``rejected`` of a request taken in part.

    ``code`` is the status of HTTP or the name of gRPC's.
    """

    kind: Kind
    reason: str = ""
    code: str = ""
    wait: float = 0.0
    rejected: int = 0

    @property
    def is_error(self) -> bool:
        """Whether it is an error that what was sent may have made, as no overload is."""
        return self.kind is Kind.FAILED and self.code not in _OVERLOADED


TAKEN = Answer(Kind.TAKEN)
NOTHING = Answer(Kind.TAKEN)  # there was nothing to send
UNKNOWN = Answer(Kind.FAILED)  # of a probe: only sending something shows it


class Exporter:
    """An installed exporter of a signal. For one thread; its methods may raise anything.

    With ``optional`` a backend that is without the signal counts as one that takes all, once said.
    """

    def __init__(self, exporter: Any, signal: Signal, *, optional: bool = False) -> None:
        self._exporter = exporter
        self._signal, self._optional, self._said = signal, optional, False
        self._is_otlp = type(exporter).__module__.startswith("opentelemetry.exporter.otlp.proto.")
        if self._is_otlp:
            encoder, encode, messages, name = _MESSAGES[signal]
            found = import_module(f"{_COLLECTOR}.{messages}")
            self._encode = getattr(import_module(f"{_COMMON}.{encoder}"), encode)
            self._empty = getattr(found, f"Export{name}ServiceRequest")
            self._response = getattr(found, f"Export{name}ServiceResponse")

    def send(self, batch: Any) -> Answer:
        """Send spans, log records or metrics, in one request.

        Several that together are longer than 3 MiB are not sent: they are too large.
        """
        if not self._is_otlp:
            result = self._exporter.export(batch)
            return TAKEN if result.name == "SUCCESS" else Answer(Kind.FAILED)
        request = self._encode(batch)
        several = isinstance(batch, Sequence) and len(batch) > 1
        if several and request.ByteSize() > REQUEST_BYTES:
            return Answer(Kind.TOO_LARGE)
        return self._request(request)

    def probe(self) -> Answer:
        """Send nothing, to learn whether somebody takes it; UNKNOWN but by OTLP, where all must."""
        return self._request(self._empty()) if self._is_otlp else UNKNOWN

    def refresh(self) -> Answer:
        """Send what has changed besides."""
        return NOTHING

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def _request(self, request: Any) -> Answer:
        over_grpc = _sdk.is_over_grpc(self._exporter)
        answer = self._by_grpc(request) if over_grpc else self._by_http(request)
        answer = answer._replace(reason=_CREDENTIALS.sub("***@", answer.reason))
        if not self._optional or answer.code not in _WITHOUT:
            return answer
        if self._signal == "METRICS" and not self._said:  # that it takes no logs, their lines say
            self._said = True
            _logger.warning(
                "the collector takes no metrics (%s): they are left out."
                " OTEL_METRICS_EXPORTER=none spares the attempt",
                answer.reason,
            )
        return TAKEN

    def _by_grpc(self, request: Any) -> Answer:
        import grpc

        try:
            response = _sdk.call(self._exporter, request)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                _sdk.reconnect(self._exporter)
            code = error.code().name
            return _refused(code, f"{code}: {error.details()}", _retry_info(error))
        return _taken(response)

    def _by_http(self, request: Any) -> Answer:
        posted = _sdk.post(self._exporter, request)
        if posted.status is None:
            return Answer(Kind.UNANSWERED, posted.reason)
        code = str(posted.status)
        if code[0] != "2":
            after = posted.retry_after if code in ("429", "503") else None
            return _refused(code, f"{code} {posted.reason}".rstrip(), _retry_after(after))
        if posted.content.lstrip().startswith(b"<"):
            return Answer(Kind.UNREACHABLE, "a web page is there, and no collector", code)
        try:
            return _taken(self._response.FromString(posted.content))
        except Exception:  # noqa: BLE001 - not all that answer 200 answer by the protocol
            return TAKEN


def _taken(response: Any) -> Answer:
    partial = response.partial_success
    rejected = sum(value for field, value in partial.ListFields() if field.name != "error_message")
    return Answer(Kind.TAKEN, partial.error_message, rejected=rejected)


def _refused(code: str, reason: str, wait: float | None) -> Answer:
    kind = _BY_CODE.get(code, Kind.UNREACHABLE if code[0] in "13" else Kind.FAILED)
    if wait is not None and kind not in (Kind.UNANSWERED, Kind.UNREACHABLE):
        kind = Kind.THROTTLED
    return Answer(kind, reason, code, wait or 0.0)


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

    if text is None:
        return None
    try:
        if text.strip().isdigit():
            return float(text)
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
