"""The threads that send: one for each exporter, and one that keeps the index and tidies up.

They work for all processes of the directory: what dead ones left goes out with what is this one's.
Nobody waits for them but `Sender.flush` and `Sender.stop`, for as long as they say, and no exporter
waits for another.

Each span is delivered once, but for one window that no sender can close: when a process is killed,
or the connection breaks, after the collector has taken a request and before its answer was noted,
that request goes out again. So that the end of a process seldom opens it, no request is begun that
cannot be waited for.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from haas_otel.delivery.dispatcher import Dispatcher
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.queue import Queue, segments
from haas_otel.delivery.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from haas_otel.delivery.dispatcher import Target
    from haas_otel.delivery.journal import Journal
    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)


class Tidier(Worker):
    """Keeps the index, removes what is sent, and gives up what is too much.

    ``sent`` returns up to which number the lines in memory are sent.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        journal: Journal,
        queue: Queue,
        sent: Callable[[], int],
    ) -> None:
        super().__init__("haas-otel-index", limits)
        self.index = Index(directory, limits)
        self._directory = directory
        self._journal = journal
        self._queue = queue
        self._sent = sent
        self._dropped = 0

    def work(self, *, urgent: bool) -> None:
        """Read what is new, remove what is done with."""
        others = self.looks_at_others(urgent=urgent)
        self._journal.forget(self._sent())
        try:
            # What is written now is read by whoever asks, and at the end: here it would only take
            # time from the thread that writes it.
            writing = None if urgent else self._journal.current
            found = self._queue.segments(others=others)
            self.index.read(path for _, path in found if path != writing)
            own = self._journal.begun
            if others or own:
                self._queue.clean(self.index, only=None if others else own)
                self.index.prune()
        except (OSError, IndexUnusable) as error:
            self.warn("index", "the trace store cannot be used: %s", error)
        for name in self._queue.replaced:
            self.warn(name, "%s is asked for no more: what waits for it goes to others", name)
        self._dropped += (dropped := self._queue.drop_excess() if others else 0)
        if dropped:
            self.warn("dropped", "%d undelivered spans dropped so far, oldest first", self._dropped)

    def end(self) -> None:
        """Give this process's segments up, and remove them if nothing is left to do."""
        own = self._journal.begun
        self._journal.close()
        with suppress(OSError, IndexUnusable):
            if own:
                self.index.read(segments(self._directory, own))
                self._queue.clean(self.index, only=own)
        self.index.close()


class Sender:
    """Deliver the journal of this process, and what other processes left, to ``targets``."""

    def __init__(
        self, directory: Path, targets: Sequence[Target], limits: Limits, journal: Journal
    ) -> None:
        self._directory = directory
        self._targets = tuple(targets)
        self._limits = limits
        self._journal = journal
        self._leaked: list[object] = []
        self._begin()

    def _begin(self) -> None:
        keys = [target.key for target in self._targets]
        queue = Queue(self._directory, self._journal, self._limits, keys)
        self._queue = queue
        self._dispatchers = tuple(
            Dispatcher(self._directory, target, self._limits, self._journal, queue)
            for target in self._targets
        )
        self._tidier = Tidier(
            self._directory,
            self._limits,
            self._journal,
            queue,
            lambda: min((each.in_memory for each in self._dispatchers), default=0),
        )
        self._until: dict[Dispatcher, float] | None = None

    @property
    def delivered(self) -> int:
        """How many spans this process has sent, to the exporter that got most."""
        return max((each.delivered for each in self._dispatchers if each.sends_spans), default=0)

    def wake(self) -> None:
        """Say that there is a new span. Cheap; starts the threads when there are none."""
        for dispatcher in self._dispatchers:
            dispatcher.wake()
        self._tidier.start()

    def flush(self, timeout: timedelta) -> bool:
        """Wait until a whole round of sending and tidying is done, and say whether it was."""
        until = time.monotonic() + timeout.total_seconds()
        rounds = [(worker, worker.ask()) for worker in self._dispatchers]
        done = [worker.await_round(number, until) for worker, number in rounds]
        return self._tidier.await_round(self._tidier.ask(), until) and all(done)

    def deliver(self, timeout: timedelta) -> None:
        """Make rounds until nothing waits, or no exporter takes anything more in this time."""
        until = time.monotonic() + timeout.total_seconds()
        while (left := until - time.monotonic()) > 0:
            self.flush(timedelta(seconds=left))
            waiting = [each for each in self._dispatchers if each.waiting]
            waits = [each.state.until - time.time() for each in waiting]
            throttled = [wait for wait in waits if wait > 0]
            if throttled:
                time.sleep(max(0.0, min(*throttled, until - time.monotonic())))
            elif not any(each.progressed for each in waiting):
                return

    def begin_stop(self, timeout: timedelta | None = None) -> timedelta:
        """Have the last rounds begun: for this time, or for what each exporter is known to need.

        Returns the longest of these times.
        """
        if self._until is None:
            self._until = {}
            for dispatcher in self._dispatchers:
                start, wait = dispatcher.exit_time()
                if timeout is not None:
                    wait = timeout.total_seconds()
                    start = wait * (self._limits.exit_start / self._limits.exit_time)
                self._until[dispatcher] = time.monotonic() + wait
                dispatcher.close_in(start)
        latest = max(self._until.values(), default=0.0) - time.monotonic()
        return max(timedelta(seconds=latest), self._limits.exit_time)

    def stop(self, timeout: timedelta | None = None) -> None:
        """Deliver what can be delivered in time, then end; the rest stays on disk."""
        until = time.monotonic() + (timeout or self._limits.exit_time).total_seconds()
        self.begin_stop(timeout)
        late = [each for each, until in (self._until or {}).items() if not each.await_end(until)]
        for each in late:
            each.state.ended_unanswered()
        self._tidier.close()
        if self._tidier.begun:
            least = time.monotonic() + self._limits.exit_time.total_seconds() / 2
            self._tidier.await_end(max(until, least))
        else:
            self._journal.close()
        waiting = [each for each in self._dispatchers if each.waiting or each in late]
        # What else is made from spans waits along with them: it is named where it waits alone.
        spans = [each.key for each in waiting if each.sends_spans]
        names = ", ".join(spans or [each.key for each in waiting])
        if names and not self._journal.all_on_disk:
            _logger.warning("spans for %s are lost: there is no disk to keep them", names)
        elif names:
            _logger.warning(
                "spans for %s are not delivered yet; they are kept in %s, and sent by the next"
                " process that can",
                names,
                self._directory,
            )

    def forget_after_fork(self) -> None:
        """Start anew in a child process, without touching what belongs to the parent."""
        self._queue.forget_after_fork()
        self._leaked += [self._tidier, self._tidier.index.forget_after_fork(), self._dispatchers]
        self._leaked += [each.forget_after_fork() for each in self._dispatchers]
        self._begin()
