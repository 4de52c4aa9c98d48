"""The one thread of a process that moves spans: journal to outbox, outbox to exporters.

It works for all processes of the directory: what dead ones left in their journals or on lease goes
out with its own. Nobody waits for it but `Sender.flush` and `Sender.stop`, for as long as they say.

Each span is delivered once, but for one window that no sender can close: when a process ends, or
the connection breaks, after the collector has taken a batch and before its answer was noted, the
batch goes out again. So that the end of a process seldom opens it, no request is begun shortly
before the time for ending is up.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from haas_otel.delivery.adoption import adopt
from haas_otel.delivery.outbox import Outbox, OutboxUnusable
from haas_otel.delivery.route import Route

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from haas_otel.delivery.exporters import Target
    from haas_otel.delivery.journal import Journal, Lines
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.metrics import MetricsTarget
    from haas_otel.delivery.outbox import Leased

_logger = logging.getLogger(__name__)
_WARN_EVERY_SECONDS = 60.0


class Sender:
    """Deliver the journal of this process, and what other processes left, to ``targets``."""

    def __init__(
        self,
        directory: Path,
        targets: Sequence[Target | MetricsTarget],
        limits: Limits,
        journal: Journal,
    ) -> None:
        self._directory = directory
        self._targets = tuple(targets)
        self._limits = limits
        self._journal = journal
        self._leaked: list[object] = []
        self._begin()

    def _begin(self) -> None:
        self._outbox = Outbox(self._directory, self._limits)
        self._routes = tuple(Route(target, self._limits) for target in self._targets)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._begun = False
        self._ended = False
        self._woken = False
        self._closing = False
        self._rounds_wanted = 0
        self._rounds_done = 0
        self._start_until: float | None = None
        self._adopted_at: float | None = None
        self._dropped = 0
        self._warned_at: dict[str, float] = {}
        self.delivered = 0

    def wake(self) -> None:
        """Say that there is a new span. Cheap; starts the thread when there is none."""
        if self._woken:
            return
        with self._changed:
            self._woken = True
            self._changed.notify_all()
            self._ensure_thread()

    def flush(self, timeout: timedelta) -> bool:
        """Wait until a whole round of moving and sending is done, and say whether it was."""
        with self._changed:
            self._rounds_wanted += 1
            mine = self._rounds_wanted
            self._changed.notify_all()
            if not self._ensure_thread():
                return False
            return self._changed.wait_for(
                lambda: self._rounds_done >= mine, timeout.total_seconds()
            )

    def stop(self, timeout: timedelta) -> None:
        """Deliver what can be delivered in this time, then end; the rest stays on disk."""
        with self._changed:
            self._closing = True
            share = self._limits.exit_start / self._limits.exit_time
            self._start_until = time.monotonic() + timeout.total_seconds() * share
            self._changed.notify_all()
            if not self._begun:
                self._ended = True
                self._journal.close()
            self._changed.wait_for(lambda: self._ended, timeout.total_seconds())
            ended = self._ended
        # What else is made from spans waits along with them: it is named where it waits alone.
        routes = [route for route in self._routes if route.waiting]
        spans = [route for route in routes if route.target.tells_spans]
        waiting = [route.target.key for route in spans or routes]
        if waiting or not ended:
            _logger.warning(
                "spans for %s are not delivered yet; they are kept in %s, and sent by the next"
                " process that can",
                ", ".join(waiting) or "the trace store",
                self._directory,
            )

    def forget_after_fork(self) -> None:
        """Start anew in a child process, without touching what belongs to the parent."""
        self._leaked += [self._outbox.forget_after_fork(), *self._routes]
        self._begin()

    def _ensure_thread(self) -> bool:
        """Start the thread if there is none, and say whether there is one; with the lock held."""
        if self._thread is None and not self._closing:
            self._begun = True
            try:
                threading.Thread(target=self._run, name="haas-otel-sender", daemon=True).start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                self._begun = False
                return False
        return not self._ended

    def _run(self) -> None:
        with self._changed:
            # A signal handler's exception may have struck between the start of a thread and the
            # note of it: so the thread takes note itself, and a second one finds its place taken.
            if self._thread is not None:
                return
            self._thread = threading.current_thread()
        try:
            self._work()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _work(self) -> None:
        from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        closing = False
        while not closing:
            goal, closing = self._await_work()
            try:
                self._round(urgent=closing or goal > self._rounds_done)
            except Exception:  # noqa: BLE001 - the thread outlives whatever goes wrong in a round
                self._warn("round", "a round of delivery failed", exc_info=True)
            with self._changed:
                self._rounds_done = goal
                self._changed.notify_all()
        for route in self._routes:
            route.shutdown()
        self._outbox.close()
        self._journal.close()

    def _await_work(self) -> tuple[int, bool]:
        """Wait for work; return the number of rounds asked for, and whether it is the last."""
        with self._changed:
            if self._changed.wait_for(lambda: self._woken or self._urgent, self._pause()):
                # More spans may end at once: they go together.
                self._changed.wait_for(lambda: self._urgent, self._limits.linger.total_seconds())
            self._woken = False
            return self._rounds_wanted, self._closing

    @property
    def _urgent(self) -> bool:
        return self._closing or self._rounds_wanted > self._rounds_done

    def _pause(self) -> float:
        """Return the seconds until something is to be looked at though no span has ended."""
        now = time.monotonic()
        times = [route.retry_at - now for route in self._routes if route.waiting]
        return max(0.05, min([self._limits.idle.total_seconds(), *times]))

    def _round(self, *, urgent: bool) -> None:
        self._collect()
        self._adopt(urgent=urgent)
        for route in self._routes:
            self._deliver(route, urgent=urgent)
            if self._may_start():
                route.beat()
        try:
            self._outbox.prune()
        except OutboxUnusable as error:
            self._warn("outbox", "the trace store cannot be used: %s", error)

    def _collect(self) -> None:
        """Move this process's journal to the outbox."""
        while True:
            lines = self._journal.read()
            if not lines.texts:
                return
            try:
                self._count_dropped(self._outbox.add(lines.texts).dropped)
            except OutboxUnusable as error:
                self._warn("outbox", "the trace store cannot be used: %s", error)
                if not self._deliver_directly(lines):
                    return
            self._journal.forget(lines)

    def _adopt(self, *, urgent: bool) -> None:
        """Move the journals of processes that are gone to the outbox."""
        now = time.monotonic()
        lately = self._adopted_at is not None and (
            now - self._adopted_at < self._limits.idle.total_seconds()
        )
        if lately and (self._closing or not urgent):
            return
        self._adopted_at = now
        try:
            self._count_dropped(adopt(self._directory, self._outbox))
        except (OSError, OutboxUnusable) as error:
            self._warn("adopt", "a journal cannot be taken over: %s", error)

    def _count_dropped(self, dropped: int) -> None:
        self._dropped += dropped
        if dropped:
            self._warn(
                "dropped", "%d undelivered spans dropped so far, oldest first", self._dropped
            )

    def _deliver(self, route: Route, *, urgent: bool) -> None:
        """Send what waits for one exporter, until nothing is left or it does not take any."""
        if not urgent and time.monotonic() < route.retry_at:
            return
        try:
            while self._may_start():
                leased = self._outbox.lease(route.target.key, self._journal.owner_id, route.batch)
                route.waiting = bool(leased)
                if not leased or not self._deliver_batch(route, leased):
                    return
            route.waiting = True
        except (OSError, OutboxUnusable) as error:
            self._warn("outbox", "the trace store cannot be used: %s", error)

    def _deliver_batch(self, route: Route, leased: Sequence[Leased]) -> bool:
        """Send one batch and say whether it is worth to go on with the next."""
        key = route.target.key
        worked_before = route.healthy
        # Loading an exporter takes a while, and may have used up the time for starting a request.
        if route.load() and self._may_start():
            if route.export([each.body for each in leased]):
                self._outbox.settle(key, leased)
                self.delivered += len(leased) if route.target.tells_spans else 0
                return True
        else:
            worked_before = False
        given_up = self._outbox.release(key, leased, refused=worked_before)
        if given_up:
            _logger.error("%s has refused %d spans again and again: given up", key, given_up)
        return worked_before

    def _deliver_directly(self, lines: Lines) -> bool:
        """Send lines that no outbox takes, and say whether all went out."""
        bodies = [line.partition("\t")[2] for line in lines.texts]
        for route in self._routes:
            resting = time.monotonic() < route.retry_at and not self._closing
            if resting or not (route.load() and self._may_start() and route.export(bodies)):
                return False
            self.delivered += len(bodies) if route.target.tells_spans else 0
        return bool(self._routes)

    def _may_start(self) -> bool:
        return self._start_until is None or time.monotonic() < self._start_until

    def _warn(self, kind: str, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log a warning, at most once a minute for each kind."""
        now = time.monotonic()
        if now - self._warned_at.get(kind, -_WARN_EVERY_SECONDS) >= _WARN_EVERY_SECONDS:
            self._warned_at[kind] = now
            _logger.warning(message, *arguments, exc_info=exc_info)
