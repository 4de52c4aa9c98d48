"""Asks what spans are sent to, an OTLP collector or another backend, whether it takes them."""

from __future__ import annotations

import os

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
ZIPKIN_ENDPOINT = "OTEL_EXPORTER_ZIPKIN_ENDPOINT"


class CollectorError(Exception):
    """The collector does not take spans. The text says why."""


def endpoint() -> str | None:
    """Return where spans are sent to, or None when they are only kept."""
    from haas_otel.delivery.exporters import chosen_names

    return ", ".join(_place(name) for name in chosen_names("TRACES")) or None


def _place(name: str) -> str:
    if name.startswith("otlp"):
        return next((os.environ[each] for each in ENDPOINTS if os.environ.get(each)), name)
    return os.environ.get(ZIPKIN_ENDPOINT, name) if name.startswith("zipkin") else name


def send_nothing() -> None:
    """Send an empty batch as spans are sent: address, protocol, TLS and headers included.

    Azure Monitor's exporter sends no empty batch: of that one the connection string is looked at.

    Raises:
        CollectorError: it was not taken.
    """
    from haas_otel.delivery.exporters import chosen_names

    for name in chosen_names("TRACES"):
        if name != "console":
            _send_nothing_by(name)


def _send_nothing_by(name: str) -> None:
    from haas_otel.delivery.exporters import spans_to
    from haas_otel.delivery.otlp import UNKNOWN, Kind

    try:
        exporter = spans_to(name)
        answer = exporter.probe()
        if answer is UNKNOWN:
            answer = exporter.send([])
        exporter.shutdown()
    except Exception as error:  # exporters are plugins
        raise CollectorError(f"{name}: {error}") from error
    if answer.kind is not Kind.TAKEN:
        reason = answer.reason or "it did not take an empty batch"
        raise CollectorError(f"{name}: {reason}. Is it up, and are address and protocol right?")
