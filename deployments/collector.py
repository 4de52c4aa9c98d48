"""Asks what spans are sent to, an OTLP collector or another backend, whether it takes them."""

from __future__ import annotations

import logging
import os

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
ZIPKIN_ENDPOINT = "OTEL_EXPORTER_ZIPKIN_ENDPOINT"
GRPC = "grpc"
HTTP = "http/protobuf"


class CollectorError(Exception):
    """The collector does not take spans. The text says why."""


class _Messages(logging.Handler):
    """Keeps what the exporters log, which is the only place where they say what went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def endpoint() -> str | None:
    """Return where spans are sent to, or None when they are only kept."""
    from haas_otel.delivery.exporters import chosen_names

    return ", ".join(_place(name) for name in chosen_names("TRACES")) or None


def _place(name: str) -> str:
    if name.startswith("otlp"):
        return next((os.environ[each] for each in ENDPOINTS if os.environ.get(each)), name)
    return os.environ.get(ZIPKIN_ENDPOINT, name) if name.startswith("zipkin") else name


def protocol() -> str:
    """Return the OTLP protocol in use; gRPC unless a variable says otherwise."""
    return next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), GRPC)


def send_nothing(seconds: float) -> None:
    """Send an empty batch with the ecosystem's own exporters: address, TLS and headers included.

    Azure Monitor's sends no empty batch: of that one the connection string is looked at.

    Args:
        seconds: how long to try an OTLP collector; other exporters have variables for it.

    Raises:
        CollectorError: it was not taken.
    """
    from haas_otel.delivery.exporters import chosen_names

    for name in chosen_names("TRACES"):
        if name.startswith("otlp"):
            _send_nothing_by_otlp(seconds)
        elif name != "console":
            _send_nothing_by(name)


def _send_nothing_by(name: str) -> None:
    from haas_otel.delivery.exporters import make_exporter

    try:
        exporter = make_exporter(name, "TRACES")
        taken = exporter.export([])
        exporter.shutdown()
    except Exception as error:  # exporters are plugins
        raise CollectorError(f"{name}: {error}") from error
    if taken.name != "SUCCESS":
        raise CollectorError(f"{name}: it did not take an empty batch. Is its address right?")


def _send_nothing_by_otlp(seconds: float) -> None:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    exporter: SpanExporter
    if protocol() == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(timeout=seconds)
    elif protocol() == HTTP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter as HttpExporter,
        )

        exporter = HttpExporter(timeout=seconds)
    else:
        raise CollectorError(
            f"the protocol {protocol()!r} is unknown. Set OTEL_EXPORTER_OTLP_PROTOCOL to {GRPC} "
            f"or {HTTP}."
        )
    messages = _Messages()
    log = logging.getLogger("opentelemetry")
    log.addHandler(messages)
    log.propagate = False
    try:
        taken = exporter.export([]) is SpanExportResult.SUCCESS
    finally:
        log.removeHandler(messages)
        log.propagate = True
        exporter.shutdown()
    if not taken:
        reason = messages.texts[-1] if messages.texts else "it did not take an empty batch"
        raise CollectorError(
            f"{reason.rstrip('.')}. Is the collector up, and is {protocol()} its protocol?"
        )
