"""How much is kept, how long is waited: every number of the delivery in one place."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import timedelta

from haas_otel.delivery.otlp import REQUEST_BYTES

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Bounds of what is kept on disk, and times.

    ``max_pending_spans`` and ``max_bytes`` bound what waits to be sent, ``kept_spans`` and
    ``kept_for`` what is kept for reading, ``unasked_for`` how long spans wait for an exporter of a
    kind that nobody asks for. ``delay`` is waited after a span has ended, for more to go with it;
    ``idle`` between looks for what other processes left. ``exit_time`` is the most that the end of
    a process waits for a collector that is not known to answer, ``exit_start`` the part of it in
    which a request may still be begun, ``longest_exit`` the most it waits for one that is.
    """

    max_pending_spans: int = 50_000
    max_bytes: int = 64 * 1024 * 1024
    kept_spans: int = 100_000
    kept_for: timedelta = timedelta(days=30)
    unasked_for: timedelta = timedelta(days=1)
    prune_every: timedelta = timedelta(hours=1)
    batch: int = 512
    request_bytes: int = REQUEST_BYTES
    most_tries: int = 12
    delay: timedelta = timedelta(seconds=0.2)
    idle: timedelta = timedelta(seconds=5)
    first_retry: timedelta = timedelta(seconds=1)
    last_retry: timedelta = timedelta(seconds=60)
    exit_time: timedelta = timedelta(seconds=0.6)
    exit_start: timedelta = timedelta(seconds=0.4)
    longest_exit: timedelta = timedelta(seconds=5)

    @classmethod
    def from_environment(cls) -> Limits:
        """Return the limits that the standard ``OTEL_BSP_*`` variables ask for.

        ``OTEL_BSP_MAX_QUEUE_SIZE`` bounds the undelivered spans on disk,
        ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE`` a request, ``OTEL_BSP_SCHEDULE_DELAY`` is the delay in
        milliseconds.
        """
        delay = _positive("OTEL_BSP_SCHEDULE_DELAY", cls.delay.total_seconds() * 1000)
        return cls(
            max_pending_spans=_positive("OTEL_BSP_MAX_QUEUE_SIZE", cls.max_pending_spans),
            batch=_positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", cls.batch),
            delay=timedelta(milliseconds=delay),
        )


def _positive(variable: str, default: float) -> int:
    text = os.environ.get(variable, "").strip()
    if not text:
        return int(default)
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    _logger.warning("%s=%r is not a positive whole number; %d is used", variable, text, default)
    return int(default)
