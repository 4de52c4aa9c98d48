"""Which exporters the standard variables choose, made when the first batch goes out.

Loading gRPC or requests takes a tenth of a second, so it is left to the thread that sends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

Signal = Literal["TRACES", "METRICS", "LOGS"]
# As the ecosystem calls them, in the order in which it takes them.
_SIGNALS: dict[Signal, Literal["traces", "metrics", "logs"]] = {
    "TRACES": "traces",
    "METRICS": "metrics",
    "LOGS": "logs",
}
AZURE = "azure_monitor_opentelemetry_exporter"
# Exporters that come with an extra of ours.
_EXTRAS = {AZURE: "azure", "zipkin_json": "zipkin"}


@dataclass(frozen=True)
class Target:
    """An exporter by its name in ``OTEL_TRACES_EXPORTER``, which is an entry point's."""

    name: str

    @property
    def key(self) -> str:
        """The name under which spans wait for it: the same for OTLP over any protocol."""
        return "otlp" if self.name.startswith("otlp") else self.name

    @property
    def tells_spans(self) -> bool:
        """Whether what goes to it are spans as such."""
        return True

    def load(self) -> SpanExporter:
        """Import and make the exporter; raises as `make_exporter`."""
        exporter: SpanExporter = make_exporter(self.name, "TRACES")
        if self.name == AZURE:
            from haas_otel.delivery.azure import AzureSpans

            return AzureSpans(exporter)
        return exporter


def chosen_targets() -> tuple[Target, ...]:
    """Return what ``OTEL_TRACES_EXPORTER`` names; unset, ``otlp`` if an endpoint is set.

    Empty when nothing is chosen, or ``none``: then spans are only stored.
    """
    targets = map(Target, chosen_names("TRACES"))
    return tuple({target.key: target for target in targets}.values())


def chosen_names(signal: Signal) -> list[str]:
    """Return the exporters that the standard variables choose for a signal.

    Unset, ``OTEL_<SIGNAL>_EXPORTER`` is ``otlp`` where the signal has an endpoint.
    """
    names = os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip()
    if not names:
        names = "otlp" if _is_set("OTEL_EXPORTER_OTLP_{}ENDPOINT", signal) else "none"
    if names.lower() == "none":
        return []
    return [name.strip() for name in names.split(",") if name.strip()]


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
            raise RuntimeError(f"{error}: pip install 'haas-media[{_EXTRAS[name]}]'") from error
        raise
    if name == AZURE:
        from haas_otel.delivery.azure import azure_arguments

        return classes[entry_point](**azure_arguments())
    return classes[entry_point](**otlp_arguments(entry_point, signal))


def otlp_arguments(entry_point: str, signal: Signal) -> dict[str, Any]:
    """Return a session for which the certificate of the OTEL variables is the one that counts.

    requests prefers REQUESTS_CA_BUNDLE of the environment to what a session was told, so that on a
    machine that sets it, OTEL_EXPORTER_OTLP_CERTIFICATE has no effect with the stock session.
    Nothing for exporters that are not OTLP over HTTP.
    """
    if entry_point != "otlp_proto_http":
        return {}
    if _is_set("OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER", signal):
        return {}
    if not _is_set("OTEL_EXPORTER_OTLP_{}CERTIFICATE", signal):
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
