"""A real OTLP receiver on 127.0.0.1, with faults that can be switched while it runs.

A TCP front owns the public port and hands bytes on to a real gRPC or HTTP server behind it, so that
the same faults work for both protocols, on connections that are open already as on new ones:

- ``refuse``: nobody listens on the port.
- ``silent``: connections are accepted and never answered.
- ``hang``: the protocol's handshake works, the request is taken, the answer never comes.
- ``503``: every request is answered with HTTP 503, or gRPC ``UNAVAILABLE``.
- ``drop``: the connection dies in the middle of the request.
- ``unanswered``: the request is taken and *recorded*, then the connection dies before the answer.

Besides, ``rule`` may answer each request by what is in it: with a `Refusal`, or `Partial`.

What arrives is kept in order of arrival, duplicates included. Only ``unanswered`` records what the
sender has to take for lost.

>>> with Receiver().start("grpc") as receiver:
...     environment = {**os.environ, **receiver.environment}
...     receiver.wait_for(lambda spans: len(spans) == 3)
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.faulty_port import FaultyPort
from tests.http_server import HttpServer, Reply
from tests.received import ReceivedRequest, ReceivedSpan, decode_spans
from tests.waits import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

Protocol = Literal["grpc", "http/protobuf"]
Fault = Literal["refuse", "silent", "hang", "503", "drop", "unanswered"]


@dataclass(frozen=True)
class Refusal:
    """An answer that takes nothing, as a status of HTTP; over gRPC what means the same.

    Of ``cut`` the connection breaks, and there is no answer. With ``wait`` it says after how many
    seconds to try again.
    """

    status: Literal["400", "403", "413", "429", "500", "503", "cut"]
    wait: int | None = None


@dataclass(frozen=True)
class Partial:
    """An answer to a request of which so much was not taken; all of it is recorded."""

    rejected: int
    message: str = "for a test"


Rule = Callable[[str, Any], Refusal | Partial | None]


@dataclass
class _Record:
    """What arrived, shared by the protocol servers."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)
    requests: list[ReceivedRequest] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, signal: str, headers: dict[str, str], message: Any) -> None:
        with self.changed:
            self.requests.append(ReceivedRequest(signal, headers))
            if signal == "traces":
                self.spans.extend(decode_spans(message))
            elif signal == "metrics":
                self.metrics.extend(message.resource_metrics)
            else:
                self.logs.extend(message.resource_logs)
            self.changed.notify_all()


_MESSAGES = {
    "traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}
_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}


class Receiver:
    """An OTLP receiver for traces, metrics and logs.

    ``spans`` holds every span in order of arrival, never deduplicated; ``metrics`` and ``logs``
    the raw ``ResourceMetrics`` and ``ResourceLogs`` messages; ``requests`` one entry a request.
    """

    def __init__(self) -> None:
        self._record = _Record()
        self._fault: Fault | None = None
        self.rule: Rule = lambda _signal, _message: None
        self._required_headers: dict[str, str] = {}
        self._front: FaultyPort | None = None
        self._server: _GrpcServer | _HttpServer | None = None
        self._unhung = threading.Event()
        self.protocol: Protocol = "grpc"
        self.certificate: Path | None = None
        self.port = 0

    def start(
        self,
        protocol: Protocol = "grpc",
        fault: Fault | None = None,
        port: int = 0,
        *,
        tls_directory: Path | None = None,
        required_headers: dict[str, str] | None = None,
        signals: tuple[str, ...] = ("traces", "metrics", "logs"),
    ) -> Receiver:
        """Start to listen on ``port`` (0: any free one) and return self.

        With ``tls_directory`` a self-signed certificate is written there and TLS is spoken.
        Requests without all of ``required_headers`` are answered 401 / ``UNAUTHENTICATED``, those
        of other ``signals`` 404 / ``UNIMPLEMENTED``.
        """
        self.protocol = protocol
        self._required_headers = required_headers or {}
        key: Path | None = None
        if tls_directory is not None:
            self.certificate, key = _write_certificate(tls_directory)
        kind = _GrpcServer if protocol == "grpc" else _HttpServer
        self._server = kind(self._handle, self.certificate, key, signals)
        self._front = FaultyPort(self._server.port, port)
        self.port = self._front.port
        self.set_fault(fault)
        return self

    @property
    def endpoint(self) -> str:
        """The value for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The ``OTEL_*`` variables that lead a process here."""
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
        }
        if self.certificate:
            variables["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(self.certificate)
        if self._required_headers:
            headers = ",".join(f"{k}={v}" for k, v in self._required_headers.items())
            variables["OTEL_EXPORTER_OTLP_HEADERS"] = headers
        return variables

    @property
    def spans(self) -> list[ReceivedSpan]:
        with self._record.changed:
            return list(self._record.spans)

    @property
    def metrics(self) -> list[Any]:
        with self._record.changed:
            return list(self._record.metrics)

    @property
    def logs(self) -> list[Any]:
        with self._record.changed:
            return list(self._record.logs)

    @property
    def events(self) -> list[Any]:
        """The log records that are events."""
        scopes = (scope for resource in self.logs for scope in resource.scope_logs)
        return [each for scope in scopes for each in scope.log_records if each.event_name]

    @property
    def requests(self) -> list[ReceivedRequest]:
        with self._record.changed:
            return list(self._record.requests)

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted since the start."""
        return self._front.accepted if self._front else 0

    @property
    def duplicates(self) -> dict[tuple[str, str], int]:
        """(trace id, span id) of every span that arrived more than once, with its count."""
        counts = Counter((span.trace_id, span.span_id) for span in self.spans)
        return {key: count for key, count in counts.items() if count > 1}

    def clear(self) -> None:
        """Forget what has arrived so far."""
        with self._record.changed:
            for kept in (
                self._record.spans,
                self._record.metrics,
                self._record.logs,
                self._record.requests,
            ):
                kept.clear()

    def set_fault(self, fault: Fault | None) -> None:
        """Switch to ``fault``, or to health with None; open connections are cut."""
        assert self._front is not None, "call start() first"
        self._fault = fault or "503"
        self._unhung.set()
        self._unhung = threading.Event()
        mode = fault if fault in ("refuse", "silent", "drop") else "pass"
        self._front.set_mode(mode)
        # Last, or what is recorded now would be cut off before it is answered.
        self._fault = fault

    def wait_for(self, predicate: Callable[[list[ReceivedSpan]], bool]) -> list[ReceivedSpan]:
        """Wait until ``predicate(spans)`` holds and return the spans.

        Raises AssertionError, with what did arrive, when they never come.
        """
        deadline = time.monotonic() + PATIENCE
        with self._record.changed:
            while not predicate(list(self._record.spans)):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    arrived = [f"{s.name} {s.span_id}" for s in self._record.spans]
                    raise AssertionError(
                        f"not within {PATIENCE} s; arrived: {arrived} in"
                        f" {len(self._record.requests)} requests, {self.connections} connections"
                    )
                self._record.changed.wait(remaining)
            return list(self._record.spans)

    def stop(self) -> None:
        """Stop listening and cut every connection; may be called twice."""
        self._unhung.set()
        if self._front:
            self._front.stop()
        if self._server:
            self._server.close()
            self._server = None

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _handle(
        self, signal: str, headers: dict[str, str], message: Any
    ) -> str | Refusal | Partial:
        """Take one decoded request; return what is to be answered."""
        fault, unhung = self._fault, self._unhung
        if any(headers.get(k.lower()) != v for k, v in self._required_headers.items()):
            return "401"
        if fault in ("503", "refuse", "silent", "drop"):
            return "503"
        if fault == "hang":
            unhung.wait()
            return "cut"
        ruled = self.rule(signal, message)
        if isinstance(ruled, Refusal):
            return ruled if ruled.status != "cut" else "cut"
        self._record.add(signal, headers, message)
        if ruled is not None:
            return ruled
        return "cut" if fault == "unanswered" else "ok"


class _GrpcServer:
    """The three OTLP services on a gRPC server at a free port of 127.0.0.1."""

    def __init__(
        self,
        handle: Callable[[str, dict[str, str], Any], Any],
        certificate: Path | None,
        key: Path | None,
        signals: tuple[str, ...],
    ) -> None:
        # Requests that hang each hold a thread.
        pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="receiver")
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        for signal in signals:
            method = grpc.unary_unary_rpc_method_handler(
                self._method(signal, handle),
                request_deserializer=_MESSAGES[signal][0].FromString,
                response_serializer=_MESSAGES[signal][1].SerializeToString,
            )
            handler = grpc.method_handlers_generic_handler(_SERVICES[signal], {"Export": method})
            self._server.add_generic_rpc_handlers((handler,))
        if certificate and key:
            credentials = grpc.ssl_server_credentials(
                [(key.read_bytes(), certificate.read_bytes())]
            )
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @staticmethod
    def _method(
        signal: str, handle: Callable[[str, dict[str, str], Any], Any]
    ) -> Callable[[Any, grpc.ServicerContext], Any]:
        errors = {
            "503": (grpc.StatusCode.UNAVAILABLE, "503"),
            "401": (grpc.StatusCode.UNAUTHENTICATED, "401"),
            "cut": (grpc.StatusCode.UNAVAILABLE, "connection lost"),
        }

        def export(message: Any, context: grpc.ServicerContext) -> Any:
            if not context.is_active():  # who sent it has given up: on a busy machine we are late
                context.abort(*errors["cut"])
            headers = {k: str(v) for k, v in context.invocation_metadata()}
            answer = handle(signal, headers, message)
            if isinstance(answer, Refusal):
                _refuse(context, answer)
            if isinstance(answer, str) and answer != "ok":
                context.abort(*errors[answer])
            return _response(signal, answer)

        return export

    def close(self) -> None:
        self._server.stop(grace=0).wait(5)


class _HttpServer(HttpServer):
    """OTLP over http/protobuf at a free port of 127.0.0.1."""

    def __init__(
        self,
        handle: Callable[[str, dict[str, str], Any], Any],
        certificate: Path | None,
        key: Path | None,
        signals: tuple[str, ...],
    ) -> None:
        def answer(path: str, headers: dict[str, str], body: bytes) -> Reply | None:
            signal = path.removeprefix("/v1/")
            if signal not in signals:
                return Reply(404)
            request, _ = _MESSAGES[signal]
            word = handle(signal, headers, request.FromString(body))
            if word == "cut":
                return None
            if isinstance(word, Refusal):
                after = (("Retry-After", str(word.wait)),) if word.wait is not None else ()
                return Reply(int(word.status), headers=after)
            if word == "ok" or isinstance(word, Partial):
                content = _response(signal, word).SerializeToString()
                return Reply(200, content, "application/x-protobuf")
            return Reply(int(word))

        super().__init__(answer, certificate, key)


def _response(signal: str, answer: str | Partial) -> Any:
    response = _MESSAGES[signal][1]()
    if isinstance(answer, Partial):
        counts = {"traces": "spans", "metrics": "data_points", "logs": "log_records"}
        setattr(response.partial_success, f"rejected_{counts[signal]}", answer.rejected)
        response.partial_success.error_message = answer.message
    return response


def _refuse(context: grpc.ServicerContext, refusal: Refusal) -> None:
    code = {
        "400": grpc.StatusCode.INVALID_ARGUMENT,
        "403": grpc.StatusCode.PERMISSION_DENIED,
        "413": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "429": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "500": grpc.StatusCode.INTERNAL,
        "503": grpc.StatusCode.UNAVAILABLE,
    }[refusal.status]
    if refusal.wait is not None:
        status = Status(code=code.value[0])
        info = RetryInfo()
        info.retry_delay.FromSeconds(refusal.wait)
        status.details.add().Pack(info)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, refusal.status)


def _write_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and localhost; return it and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    key_path, certificate_path = directory / "receiver.key", directory / "receiver.pem"
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate_path, key_path
