"""The span processor: a sampled span that has ended is on disk before its `end` returns."""

from __future__ import annotations

import logging
import os
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from haas_otel.delivery.codec import SpanEncoder
from haas_otel.delivery.journal import Journal
from haas_otel.delivery.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.dispatcher import Target
    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)


class DurableSpanProcessor(SpanProcessor):
    """Keep every sampled span on disk and have it delivered to ``targets`` in the background.

    Without targets spans are only stored. Works in forked children as in the process itself.
    """

    def __init__(
        self,
        directory: Path,
        targets: Sequence[Target],
        limits: Limits,
        journal: Journal | None = None,
    ) -> None:
        self.names = tuple(target.key for target in targets)
        self._encoder = SpanEncoder()
        self._journal = journal or Journal(directory)
        self._sender = Sender(directory, targets, limits, self._journal)
        # os keeps what is registered for ever: it is not to keep this processor alive.
        forget = weakref.WeakMethod(self._forget_after_fork)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    @property
    def delivered(self) -> int:
        """How many spans this process has delivered, its own and others'."""
        return self._sender.delivered

    def on_end(self, span: ReadableSpan) -> None:
        """Write the span down. Never raises, never waits for a disk, a lock or the network."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        try:
            key = f"{span.context.span_id:016x}"
            names = self._journal.exporters.pop(key, self.names)
            text = self._encoder.encode(span)
            self._journal.append(b"%b\t%b" % (",".join(names).encode(), text), key)
            self._sender.wake()
        except Exception:
            _logger.exception("a span is lost: %s", span.name)

    def wake(self) -> None:
        """Have something sent that is not a span. Cheap, never waits."""
        self._sender.wake()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for delivery as long as allowed; say whether every span is delivered or on disk."""
        self._sender.flush(timedelta(milliseconds=timeout_millis))
        return self._journal.all_on_disk

    def deliver(self, timeout: timedelta) -> None:
        """Send what waits, here and from other processes, for as long as some of it goes out."""
        self._sender.deliver(timeout)

    def begin_shutdown(self) -> timedelta:
        """Have the last chance of `shutdown` begin now; return how long that will wait."""
        return self._sender.begin_stop()

    def shutdown(self, timeout: timedelta | None = None) -> None:
        """Give delivery a last chance, for as long as the exporters are known to need.

        Spans that end later are still written down, for another process to deliver.
        """
        self._sender.stop(timeout)

    def _forget_after_fork(self) -> None:
        self._journal.forget_after_fork()
        self._sender.forget_after_fork()
