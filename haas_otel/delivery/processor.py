"""The span processor: a sampled span that has ended is on disk before its `end` returns.

From there it is sent in the background, by one thread for each exporter. They work for all
processes of the directory: what dead ones left goes out with what is this one's. Nobody waits for
them but `force_flush` and `shutdown`, for as long as they say.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from haas_otel.delivery.codec import cut, encode
from haas_otel.delivery.queue import Queue
from haas_otel.delivery.segments import kind_of
from haas_otel.delivery.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.exporters import Target
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.segments import Journal

_logger = logging.getLogger(__name__)


class DurableSpanProcessor(SpanProcessor):
    """Keep every sampled span in ``journal``, and deliver it to ``targets`` in the background.

    Without targets spans are only stored. Works in forked children as in the process itself.
    """

    def __init__(self, journal: Journal, targets: Sequence[Target], limits: Limits) -> None:
        self.names = tuple(target.key for target in targets)
        self._journal, self._targets, self._limits = journal, tuple(targets), limits
        journal.send_to(self.names)
        self._parents: list[object] = []
        self._begin()
        # os keeps what is registered for ever: it is not to keep this processor alive.
        forget = weakref.WeakMethod(self._forget_after_fork)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def _begin(self) -> None:
        queue = Queue(self._journal, self.names, self._limits)
        self._senders = tuple(Sender(target, queue) for target in self._targets or (None,))
        self._closing = False

    @property
    def delivered(self) -> int:
        """How many spans this process has sent, its own and others', to who got most of them."""
        return max((each.delivered for each in self._senders if each.target), default=0)

    def on_end(self, span: ReadableSpan) -> None:
        """Write the span down. Never raises, never waits for a disk, a lock or the network."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        try:
            text = encode(span)
            if len(text) > self._limits.max_bytes / 4:  # it would take the place of all that waits
                text = cut(text)
                _logger.warning("a span was too large, and is cut: %s", span.name)
            self._journal.append(text, f"{context.span_id:016x}")
            self.wake()
        except Exception:
            _logger.exception("a span is lost: %s", span.name)

    def wake(self) -> None:
        """Say that there is something to send. Cheap; starts the threads when there are none."""
        for sender in self._senders:
            sender.wake()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for delivery as long as allowed; say whether every span is delivered or on disk."""
        until = time.monotonic() + timeout_millis / 1000
        for done in [sender.ask() for sender in self._senders]:
            done.wait(max(0.0, until - time.monotonic()))
        return self._journal.memory is None

    def deliver(self, timeout: timedelta) -> None:
        """Make rounds until nothing waits, or no exporter takes anything more in this time."""
        until = time.monotonic() + timeout.total_seconds()
        while (left := until - time.monotonic()) > 0:
            asked = time.time()
            self.force_flush(int(left * 1000))
            waiting = [each for each in self._senders if each.waiting]
            if not any(each.progressed for each in waiting):
                # A moment that has come since then was too far away for this round.
                moments = (each.state.until for each in waiting if each.state.until > asked)
                wait = min(moments, default=float("inf")) - time.time()
                if wait >= until - time.monotonic():
                    return
                time.sleep(max(0.0, wait))

    def begin_shutdown(self, timeout: timedelta | None = None) -> timedelta:
        """Have the last rounds begun, for this time or for what each exporter is known to need.

        Returns how long `shutdown` may wait for them.
        """
        if not self._closing:
            self._closing = True
            for sender in self._senders:
                sender.close_in(timeout)
        latest = max(each.deadline for each in self._senders) - time.monotonic()
        return max(timedelta(seconds=latest), self._limits.exit_time)

    def shutdown(self, timeout: timedelta | None = None) -> None:
        """Give delivery a last chance, for as long as the exporters are known to need.

        What is left stays on disk. Spans that end later are still written down, for another process
        to deliver.
        """
        self.begin_shutdown(timeout)
        late = [each for each in self._senders if not each.await_last()]
        for each in late:
            each.state.note(answers=False)
        waiting = [each for each in self._senders if each.waiting or each in late]
        # What else is made from spans waits along with them: it is named where it waits alone.
        spans = [each.key for each in waiting if each.target and kind_of(each.key) == "spans"]
        names = ", ".join(spans or [each.key for each in waiting])
        if self._journal.memory is not None:
            _logger.warning("spans are lost: there is no disk to keep them, nobody has taken them")
        elif names:
            _logger.warning(
                "spans for %s are not delivered yet; they are kept in %s, and sent by the next"
                " process that can",
                names,
                self._journal.directory,
            )

    def _forget_after_fork(self) -> None:
        self._journal.forget_after_fork()
        # The parent's connections, which must neither be used nor closed in a child.
        self._parents.append(self._senders)
        self._begin()
