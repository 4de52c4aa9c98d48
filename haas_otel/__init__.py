"""Task spans for Prefect: exactly one for every task run, however it ended.

    from haas_otel import flow, task    # in place of prefect's

Everything else comes from the standard ``OTEL_*`` variables.
"""

from opentelemetry.trace import TracerProvider as _TracerProvider

from haas_otel import hooks as _hooks
from haas_otel import records as _records
from haas_otel import span as _span
from haas_otel._settings import settings
from haas_otel.decorators import BackgroundTask, flow, materialize, task
from haas_otel.reconciler import Reconciled, reconcile
from haas_otel.reconciler import settle_here as _settle_here

__all__ = [
    "BackgroundTask",
    "Reconciled",
    "configure",
    "flow",
    "materialize",
    "reconcile",
    "settings",
    "task",
]


def configure(provider: _TracerProvider | None = None) -> None:
    """Set up OpenTelemetry from the ``OTEL_*`` variables, once in a process.

    The first span does it; call it yourself only to have it done earlier. A tracer provider that
    is given, or that the application has set, is used as it is.
    """
    from haas_otel.delivery import configure as set_up

    set_up(provider)


def _find_disk() -> _records.Disk | None:
    from haas_otel.delivery import find_disk

    return find_disk(_settle_here)


_span.set_up_with(configure, _hooks.end_left_at_exit)
_records.find_with(_find_disk)
