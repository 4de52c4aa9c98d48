"""Which exporters the standard variables choose, made when the first batch goes out.

Loading gRPC or requests takes a tenth of a second, so it is left to the thread that sends.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from haas_otel.delivery.otlp import TAKEN, Answer, Kind, Otlp, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

# As the ecosystem calls them, in the order in which it takes them.
_SIGNALS: dict[Signal, Literal["traces", "metrics", "logs"]] = {
    "TRACES": "traces",
    "METRICS": "metrics",
    "LOGS": "logs",
}
AZURE = "azure_monitor_opentelemetry_exporter"
_CONNECTION_STRING = "APPLICATIONINSIGHTS_CONNECTION_STRING"
# Threads of Azure's that report on the exporter itself, and may each hold up the end of a process
# for many seconds. Whoever wants them sets these to false.
_ABOUT_ITSELF = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
_EXTRAS = {AZURE: "azure", "zipkin_json": "zipkin"}  # ours, that bring an exporter


class Target(NamedTuple):
    """An exporter: the name under which spans wait for it, and what makes it.

    ``is_of_spans`` is False where something else is made of them: `metrics.TaskMetrics`.
    """

    key: str
    load: Callable[[], Any]
    is_of_spans: bool = True


class SpanExporting:
    """Hands spans to an exporter: any that is installed, or one of the ecosystem's for OTLP.

    For one thread; methods may raise anything.
    """

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._otlp = Otlp(exporter, "TRACES") if is_otlp(exporter) else None

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Send spans in one request."""
        if self._otlp is not None:
            return self._otlp.send(spans)
        return TAKEN if self._exporter.export(spans).name == "SUCCESS" else Answer(Kind.FAILED)

    def probe(self) -> Answer | None:
        """Send nothing; only by OTLP, where all have to take that."""
        return self._otlp.probe() if self._otlp else None

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()


def is_otlp(exporter: object) -> bool:
    """Say whether an exporter is one of the ecosystem's for OTLP, over gRPC or HTTP."""
    return type(exporter).__module__.startswith("opentelemetry.exporter.otlp.proto.")


def chosen_targets() -> tuple[Target, ...]:
    """Return what ``OTEL_TRACES_EXPORTER`` names; unset, ``otlp`` if an endpoint is set.

    Empty when nothing is chosen, or ``none``: then spans are only stored.
    """
    targets: dict[str, Target] = {}
    for name in chosen_names("TRACES"):
        by_http = any(
            os.environ.get(f"OTEL_EXPORTER_OTLP_{part}PROTOCOL", "").startswith("http")
            for part in ("TRACES_", "")
        )
        entry_point = f"otlp_proto_{'http' if by_http else 'grpc'}" if name == "otlp" else name
        # The same for OTLP over any protocol, so that it may be changed while spans wait.
        first = name.startswith("otlp") and all(each.key != "otlp" for each in targets.values())
        targets.setdefault(entry_point, Target("otlp" if first else name, partial(spans_to, name)))
    return tuple(targets.values())


def spans_to(name: str) -> SpanExporting:
    """Return the exporter of spans of this name; raises as `make_exporter`."""
    return SpanExporting(make_exporter(name, "TRACES"))


def chosen_names(signal: Signal) -> list[str]:
    """Return the exporters that the standard variables choose for a signal.

    Unset, ``OTEL_<SIGNAL>_EXPORTER`` is ``otlp`` where the signal has an endpoint.
    """
    names = os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip()
    if not names:
        names = "otlp" if _is_set("OTEL_EXPORTER_OTLP_{}ENDPOINT", signal) else "none"
    given = [name.strip() for name in names.split(",")]
    return [name for name in given if name and name.lower() != "none"]


def make_exporter(name: str, signal: Signal) -> Any:
    """Import and make an exporter of a signal by its name in ``OTEL_<SIGNAL>_EXPORTER``.

    Raises whatever the ecosystem raises for a name or protocol that it does not know
    (RuntimeError), and whatever the exporter raises for its own variables.
    """
    from opentelemetry.sdk._configuration import _get_exporter_entry_point, _import_exporters

    entry_point = _get_exporter_entry_point(name, _SIGNALS[signal])
    asked = [[entry_point] if other == signal else [] for other in _SIGNALS]
    try:
        classes: Any = _import_exporters(*asked)[list(_SIGNALS).index(signal)]
    except RuntimeError as error:
        if name in _EXTRAS:
            raise RuntimeError(f"{error}: pip install 'haas-otel[{_EXTRAS[name]}]'") from error
        raise
    if name == AZURE:
        return classes[entry_point](**_azure_arguments())
    return classes[entry_point](**_otlp_arguments(entry_point, signal))


def _otlp_arguments(entry_point: str, signal: Signal) -> dict[str, Any]:
    """Return a session for which the certificate of the OTEL variables is the one that counts.

    requests prefers REQUESTS_CA_BUNDLE of the environment to what a session was told, so that on a
    machine that sets it, OTEL_EXPORTER_OTLP_CERTIFICATE has no effect with the stock session.
    Nothing for exporters that are not OTLP over HTTP.
    """
    own = _is_set("OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER", signal)
    given = _is_set("OTEL_EXPORTER_OTLP_{}CERTIFICATE", signal)
    if entry_point != "otlp_proto_http" or own or not given:
        return {}
    import requests

    class Session(requests.Session):
        def merge_environment_settings(
            self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
        ) -> Any:
            chosen = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, chosen, cert)

    return {"session": Session()}


def _is_set(variable: str, signal: Signal) -> bool:
    return any(os.environ.get(variable.format(part)) for part in ("", f"{signal}_"))


def _azure_arguments() -> dict[str, Any]:
    """Return what keeps Azure's exporters from a disk of their own, and the key out of the log.

    Raises ValueError where the connection string is not set.
    """
    if not os.environ.get(_CONNECTION_STRING, "").strip():
        raise ValueError(
            f"{_CONNECTION_STRING} is not set: copy it from the overview page of the"
            " Application Insights resource"
        )
    for variable in _ABOUT_ITSELF:
        os.environ.setdefault(variable, "true")
    logging.getLogger("azure.monitor.opentelemetry.exporter.export._base").addFilter(_without_key)
    return {"disable_offline_storage": True, "max_envelopes_per_second": 0, "retry_total": 0}


def _without_key(record: logging.LogRecord) -> bool:
    """Take the instrumentation key out of a log line, which may show a whole envelope."""
    for part in os.environ.get(_CONNECTION_STRING, "").split(";"):
        name, _, key = part.partition("=")
        if name.strip().lower() == "instrumentationkey" and key:
            record.msg, record.args = record.getMessage().replace(key, "***"), None
    return True
