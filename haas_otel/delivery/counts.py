"""Counts that no span carries, sent at once: what never began, and what an audit found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from haas_otel._settings import settings
from haas_otel.delivery.exporters import chosen_names, make_exporter
from haas_otel.delivery.metrics import preferred
from haas_otel.delivery.otlp import Exporter, Kind
from haas_otel.delivery.setup import shared_resource
from haas_otel.span import package_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.metrics import Meter

_logger = logging.getLogger(__name__)

NOT_STARTED = "background_task.not_started"
REASON = "background_task.not_started.reason"
AUDIT = "background_task.audit"


def send_never_began(flow_name: str, reason: str) -> bool:
    """Count a flow run that ended without having begun, and say whether that was taken."""
    counts = {reason: 1}

    def make(meter: Meter) -> Any:
        return meter.create_counter(NOT_STARTED, "{run}", "Flow runs that never began.").add

    return _send(make, counts, REASON, {"prefect.flow.name": flow_name})


def load() -> None:
    """Load what counting needs, which takes a busy machine seconds, before time is short."""
    for exporter, _ in _exporters():
        exporter.shutdown()


def send_audit(counts: Mapping[str, int]) -> bool:
    """Send how many spans had each result of an audit, and say whether that was taken."""

    def make(meter: Meter) -> Any:
        return meter.create_gauge(AUDIT, "{span}", "Spans by what the last audit found.").set

    return _send(make, counts, "result", {})


def _send(make: Any, counts: Mapping[str, int], by: str, labels: Mapping[str, str]) -> bool:
    taken = []
    for exporter, reader in _exporters():
        provider = sdk.MeterProvider([reader], resource=shared_resource(), shutdown_on_exit=False)
        note = make(provider.get_meter(settings.scope, package_version()))
        for value, count in counts.items():
            note(count, {**labels, by: value})
        taken.append(exporter.send(reader.get_metrics_data()).kind is Kind.TAKEN)
        exporter.shutdown()
    return bool(taken) and all(taken)


def _exporters() -> Iterator[tuple[Exporter, InMemoryMetricReader]]:
    """Make each exporter, with what reads what is counted for it."""
    for name in chosen_names("METRICS"):
        try:
            made = make_exporter(name, "METRICS")
            pair = Exporter(made, "METRICS"), InMemoryMetricReader(*preferred(made))
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            _logger.warning("nothing is counted for %s: %s", name, error)
        else:
            yield pair
