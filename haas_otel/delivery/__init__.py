"""How spans get out: set-up, disk, delivery, and the trace store that `haas traces` reads.

The life of a span here::

    starts -> segments   a start record in a segment of this process's own: `Journal`
    ends   -> segments   the span, as JSON by `codec`, before `end` returns: `processor`
           -> queue      the segments of all processes, read once for all exporters, and removed
           -> sender     from there, by a thread for each of the `exporters`, in `otlp`;
                         from a later process, if not from this one
           -> index      SQLite: each span once, to be read by `store`, and to know copies

What the core sees of it is `disk`. `metrics` are made of the same spans; `logs` go their own way.
Importing this costs nothing; what is behind it is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_otel.span import enabled

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from opentelemetry.trace import TracerProvider

    from haas_otel.delivery.disk import SharedDisk

__all__ = ["configure", "deliver_pending", "find_disk", "load_counts", "open_disk"]


def configure(provider: TracerProvider | None = None) -> None:
    """Set up tracing from the ``OTEL_*`` variables, once in a process.

    Does nothing when telemetry is switched off. Uses the tracer provider that is given or that the
    application has set, adding only the ids of task runs. Never raises: what is wrong with the
    variables is logged.
    """
    if enabled():
        from haas_otel.delivery import setup

        setup.configure(provider)


def find_disk(settle: Callable[[], object]) -> SharedDisk | None:
    """Return what the processes of this machine have written down; None while it cannot be used.

    ``settle`` is called now and then for what processes left that died. None too when telemetry is
    off.
    """
    if not enabled():
        return None
    from haas_otel.delivery import setup

    return setup.disk(settle)


def load_counts() -> Callable[[str, str], bool]:
    """Load what sends a count of what never began, and return it; see `history.load_send`."""
    from haas_otel.delivery import metrics

    metrics.load()
    return metrics.send_never_began


def open_disk(directory: Path) -> SharedDisk:
    """Return a folder of spans, to read who runs there, or to leave start records of one's own.

    Raises OSError when it cannot be used.
    """
    from haas_otel.delivery.disk import SharedDisk
    from haas_otel.delivery.segments import Journal

    return SharedDisk(Journal(directory))


def deliver_pending(timeout: timedelta) -> int:
    """Send what this and earlier processes left on disk, and return how many spans went out.

    Returns when nothing is left, when the collector does not take any, or after ``timeout``. Does
    nothing, and returns 0, when telemetry is off, no exporter is chosen or the application has a
    provider of its own.
    """
    if not enabled():
        return 0
    from haas_otel.delivery import setup

    return setup.deliver_pending(timeout)
