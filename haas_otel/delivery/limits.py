"""Where spans are kept on this machine, how much of them, and how long is waited."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

_logger = logging.getLogger(__name__)


def telemetry_directory() -> Path:
    """Return the folder of spans on disk: ``HAAS_OTEL_DIR``, else ``haas_otel`` in Prefect's home.

    All processes of one Prefect installation on a machine share it. It has to be on a local disk.
    """
    chosen = os.environ.get("HAAS_OTEL_DIR", "").strip()
    if chosen:
        directory = Path(chosen).expanduser()
        if not directory.is_absolute():
            # It stays the same when a task changes its process's folder, and for child processes.
            directory = directory.absolute()
            os.environ["HAAS_OTEL_DIR"] = str(directory)
        return directory
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "haas_otel"


@dataclass(frozen=True)
class Limits:
    """Bounds of what is kept on disk, and times.

    ``max_pending_spans`` and ``max_bytes`` bound what waits for one exporter, ``kept_spans`` and
    ``kept_for`` what is kept for reading, ``unasked_for`` how long spans wait for an exporter that
    nobody asks for. ``delay`` is waited after a span has ended, for more to go with it; ``idle``
    between looks for what other processes left. The end of a process waits ``exit_time`` for a
    collector that is not known to answer, ``longest_exit`` for one that is.
    """

    max_pending_spans: int = 50_000
    max_bytes: int = 64 * 1024 * 1024
    kept_spans: int = 100_000
    kept_for: timedelta = timedelta(days=30)
    unasked_for: timedelta = timedelta(days=1)
    batch: int = 512
    most_tries: int = 12
    delay: timedelta = timedelta(seconds=0.2)
    idle: timedelta = timedelta(seconds=5)
    first_retry: timedelta = timedelta(seconds=1)
    last_retry: timedelta = timedelta(seconds=60)
    exit_time: timedelta = timedelta(seconds=0.6)
    longest_exit: timedelta = timedelta(seconds=5)

    @classmethod
    def from_environment(cls) -> Limits:
        """Return the limits that the standard ``OTEL_BSP_*`` variables ask for.

        ``OTEL_BSP_MAX_QUEUE_SIZE`` bounds the undelivered spans on disk,
        ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE`` a request, ``OTEL_BSP_SCHEDULE_DELAY`` is the delay in
        milliseconds.
        """
        delay = positive("OTEL_BSP_SCHEDULE_DELAY", int(cls.delay / timedelta(milliseconds=1)))
        return cls(
            max_pending_spans=positive("OTEL_BSP_MAX_QUEUE_SIZE", cls.max_pending_spans),
            batch=positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", cls.batch),
            delay=timedelta(milliseconds=delay),
        )


def positive(variable: str, default: int) -> int:
    """Return the whole number that a variable gives; the default, with a warning, for any other."""
    text = os.environ.get(variable, "").strip()
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    if text:
        _logger.warning("%s=%r is not a positive whole number; %d is used", variable, text, default)
    return default
