"""The way to one exporter: made when first used, left alone for a while after it failed."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from haas_otel.delivery.exporters import Target
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.metrics import MetricsTarget, TaskMetrics

_logger = logging.getLogger(__name__)


class Route:
    """Export to one target and remember how that went. Used by one thread.

    ``healthy`` says that the last export succeeded, ``waiting`` that spans are left for later,
    ``retry_at`` from when on (``time.monotonic``) it is worth to try again. ``batch`` is how many
    spans may go together: halved by every failure, for it may be one span that is refused, and
    doubled by every success.
    """

    def __init__(self, target: Target | MetricsTarget, limits: Limits) -> None:
        self.target = target
        self.healthy = False
        self.waiting = False
        self.retry_at = 0.0
        self.batch = limits.batch
        self._limits = limits
        self._delay = 0.0
        self._exporter: SpanExporter | None = None
        self._complained = False

    def load(self) -> bool:
        """Make the exporter if there is none yet, and say whether there is one. Never raises."""
        if self._exporter is None:
            try:
                self._exporter = self.target.load()
            except Exception as error:  # noqa: BLE001 - exporters are plugins; the spans stay
                self._failed(error)
        return self._exporter is not None

    def export(self, bodies: Sequence[str]) -> bool:
        """Send spans given as JSON, after `load`, and say if they were taken. Never raises."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        exporter = cast("SpanExporter", self._exporter)
        spans = _decode(bodies)
        try:
            if not spans or exporter.export(spans) is SpanExportResult.SUCCESS:
                self._succeeded()
                return True
            self._failed(None)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
        return False

    def beat(self) -> None:
        """Let an exporter that tells more than spans do so, unless it failed lately. Never raises.

        Such are the metrics, with the number of tasks that go on; they have ``tells_spans`` False.
        """
        if self.target.tells_spans or time.monotonic() < self.retry_at or not self.load():
            return
        try:
            if not cast("TaskMetrics", self._exporter).beat():
                self._failed(None)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)

    def shutdown(self) -> None:
        """Close the exporter if there is one. Never raises."""
        exporter, self._exporter = self._exporter, None
        try:
            if exporter is not None:
                exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - as above
            _logger.warning("%s did not shut down: %s", self.target.key, error)

    def _succeeded(self) -> None:
        self.healthy, self._complained = True, False
        self.retry_at = self._delay = 0.0
        self.batch = min(2 * self.batch, self._limits.batch)

    def _failed(self, error: Exception | None) -> None:
        if error is not None and not self._complained:
            self._complained = True
            _logger.warning("spans cannot be sent to %s yet: %s", self.target.key, error)
        self.healthy, self.waiting = False, True
        self.batch = max(self.batch // 2, 1)
        first = self._limits.first_retry.total_seconds()
        last = self._limits.last_retry.total_seconds()
        self._delay = min(max(first, 2 * self._delay), last)
        self.retry_at = time.monotonic() + self._delay


def _decode(bodies: Sequence[str]) -> list[ReadableSpan]:
    from haas_otel.delivery.codec import SpanDecoder

    decoder = SpanDecoder()
    spans = []
    for body in bodies:
        try:
            spans.append(decoder.decode(body))
        except ValueError as error:
            _logger.error("a stored span cannot be read, so it is not sent: %s", error)
    return spans
