"""Task spans for Prefect: exactly one for every task run, however it ended.

    from haas_otel import flow, task    # in place of prefect's

Everything else comes from the standard ``OTEL_*`` variables.
"""

from functools import partial as _partial

from opentelemetry.trace import TracerProvider as _TracerProvider

from haas_otel import delivery as _delivery
from haas_otel import history as _history
from haas_otel import hooks as _hooks
from haas_otel import records as _records
from haas_otel import span as _span
from haas_otel._settings import settings
from haas_otel.decorators import BackgroundTask, flow, materialize, task
from haas_otel.reconciler import Reconciled, reconcile

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
    is given, or that the application has set, is used as it is. One that is given after the first
    task is taken from then on, with a warning.
    """
    if provider is not None:
        _span.use_provider(provider)
    _delivery.configure(provider)


# The core does not know how spans get out: what it needs of that is given to it.
_span.prepare, _span.before_exit = _delivery.configure, _hooks.end_left_at_exit
_records.disk = _partial(_delivery.find_disk, _hooks.settle_others)
_history.load_send = _delivery.load_counts
