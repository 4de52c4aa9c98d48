"""Which exporters the standard variables choose, and what the processes of a machine know of each.

They are made when the first batch goes out: loading gRPC or requests takes a tenth of a second, so
it is left to the thread that sends. When to try one again, and whether it answers, is in a file.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import AbstractContextManager, suppress
from functools import cache, partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from haas_otel import _sdk
from haas_otel.delivery.otlp import Exporter, Signal
from haas_otel.delivery.segments import locked

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

# In the order in which the ecosystem takes them.
_SIGNALS: tuple[Signal, ...] = ("TRACES", "METRICS", "LOGS")
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
# What has to be installed for an exporter that the pages name.
_BROUGHT_BY = {
    AZURE: "azure-monitor-opentelemetry-exporter",
    "zipkin_json": "opentelemetry-exporter-zipkin-json",
}
# A collector that names a later moment is asked before that: it may have meant something else, and
# the clock may have been set back since.
_LONGEST_WAIT_SECONDS = 3600.0
_PREFIX = "exporter-"
_FIND_OUT_EVERY_SECONDS = 3600.0


class Target(NamedTuple):
    """An exporter: the name under which spans wait for it, and what makes it."""

    key: str
    load: Callable[[], Any]


def chosen_targets(
    signal: Signal = "TRACES", key: str = "", make: Callable[[str], Any] | None = None
) -> tuple[Target, ...]:
    """Return what the standard variables choose for a signal; see `chosen_names`.

    Spans wait for each by its name, for OTLP as ``otlp`` over whatever protocol, so that this may
    be changed meanwhile. With ``key``, of a signal that is made of spans, it is that for OTLP, and
    before the name else. ``make`` makes an exporter by its name.
    """
    targets: dict[str, Target] = {}
    both = (os.environ.get(f"OTEL_EXPORTER_OTLP_{p}PROTOCOL") for p in (f"{signal}_", ""))
    by_http = next(filter(None, both), "").startswith("http")
    for name in chosen_names(signal):
        entry_point = f"otlp_proto_{'http' if by_http else 'grpc'}" if name == "otlp" else name
        first = name.startswith("otlp") and all(
            each.key != (key or "otlp") for each in targets.values()
        )
        own = (key or "otlp") if first else f"{key}-{name}" if key else name
        targets.setdefault(entry_point, Target(own, partial(make or spans_to, name)))
    return tuple(targets.values())


def spans_to(name: str) -> Exporter:
    """Return the exporter of spans of this name; raises as `make_exporter`."""
    return Exporter(make_exporter(name, "TRACES"), "TRACES")


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
    entry_point = _sdk._get_exporter_entry_point(name, signal.lower())
    asked = [[entry_point] if other == signal else [] for other in _SIGNALS]
    try:
        classes: Any = _sdk._import_exporters(*asked)[_SIGNALS.index(signal)]
    except RuntimeError as error:
        if name in _BROUGHT_BY:
            raise RuntimeError(f"{error}: pip install {_BROUGHT_BY[name]}") from error
        raise
    arguments = _azure_arguments() if name == AZURE else _otlp_arguments(entry_point, signal)
    return classes[entry_point](**arguments)


def _otlp_arguments(entry_point: str, signal: Signal) -> dict[str, Any]:
    """Return a session for which the certificate of the OTEL variables is the one that counts.

    requests prefers REQUESTS_CA_BUNDLE of the environment to what a session was told, so that on a
    machine that sets it, OTEL_EXPORTER_OTLP_CERTIFICATE has no effect with the stock session. An
    older exporter tells each request, and not the session.
    """
    own = _is_set("OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER", signal)
    given = _is_set("OTEL_EXPORTER_OTLP_{}CERTIFICATE", signal)
    if entry_point != "otlp_proto_http" or own or not given:
        return {}
    import requests

    session = requests.Session()
    merged = session.merge_environment_settings
    session.merge_environment_settings = (  # type: ignore[method-assign]
        lambda url, proxies, stream, verify, cert: merged(
            url, proxies, stream, verify or session.verify, cert
        )
    )
    return {"session": session}


def _is_set(variable: str, signal: Signal) -> bool:
    return any(os.environ.get(variable.format(part)) for part in ("", f"{signal}_"))


def _azure_arguments() -> dict[str, Any]:
    """Return what keeps Azure's exporters from a disk of their own, and the key out of the log."""
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


@cache
def _is_installed(key: str) -> bool:
    """Say whether there is an exporter for what waits under this name; see `chosen_targets`."""
    kind, _, rest = key.partition("-")
    signal = {"metrics": "metrics", "events": "logs"}.get(kind, "traces")
    name = key if signal == "traces" else rest or "otlp"
    found = entry_points(group=f"opentelemetry_{signal}_exporter", name=name)
    return name == "otlp" or bool(found)


def asked_for(directory: Path, lately: timedelta) -> frozenset[str]:
    """Return the exporters that some process has asked for lately, of those that are installed."""
    found, since = set(), time.time() - lately.total_seconds()
    for path in directory.glob(f"{_PREFIX}*.json"):
        key = unquote(path.stem.removeprefix(_PREFIX))
        with suppress(OSError):
            if path.stat().st_mtime > since and _is_installed(key):
                found.add(key)
    return frozenset(found)


class ExporterState:
    """A file with what is known of an exporter.

    ``until`` in seconds since the epoch; ``answers`` None as long as nothing is known. Whether one
    is slow or silent only waiting shows: the end of a process waits longer for it once in an hour.
    Whoever holds the lock on the file sends what dead processes have left.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self._path = directory / f"{_PREFIX}{quote(key, safe='')}.json"
        self.until = self._waited_at = 0.0
        self.answers: bool | None = None
        self.read()

    def read(self) -> None:
        """Learn what other processes have learnt."""
        with suppress(OSError, ValueError, TypeError):
            until, answers, waited_at = json.loads(self._path.read_text())
            self.until, self._waited_at = float(until), float(waited_at)
            self.answers = None if answers is None else bool(answers)
        if not self.until - time.time() <= _LONGEST_WAIT_SECONDS:
            self.until = 0.0

    def throttle(self, seconds: float) -> None:
        """Have nobody send for so long, an hour at most."""
        self.until = time.time() + min(seconds, _LONGEST_WAIT_SECONDS)
        self._write()

    def note(self, *, answers: bool) -> None:
        """Note whether an answer came."""
        if answers is not self.answers:
            self.answers = answers
            self._write()

    def may_wait_long(self) -> bool:
        """Say whether the end of a process waits until an answer comes."""
        since = time.time() - self._waited_at
        if self.answers is False and not 0 <= since < _FIND_OUT_EVERY_SECONDS:
            self._waited_at = time.time()
            self._write()
            return True
        return bool(self.answers)

    def ask(self) -> None:
        """Note that this exporter is asked for, by the time of the file's last change."""
        if not os.access(self._path, os.F_OK):
            self._write()
        with suppress(OSError):
            os.utime(self._path)

    def alone(self) -> AbstractContextManager[bool]:
        """Be the only process that sends what others left, or say that another one is."""
        return locked(self._path)

    def _write(self) -> None:
        # In one call, and in the file that others may hold the lock on.
        text = json.dumps([self.until, self.answers, self._waited_at]).ljust(80)
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(descriptor, text.encode(), 0)
            os.close(descriptor)
