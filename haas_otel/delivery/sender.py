"""Sending to one exporter: in requests that it takes, and around spans that it does not.

A request that is refused is sent again in halves, until the span that it is about is alone. That is
cut where it is too large, and given up with a word when others are taken and it is not. What was
throttled or not answered comes after all the others the next time, and in halves, too; throttled,
it waits for the moment that the collector has named, in this process or the next.

Each span is delivered once, but for one window that no sender can close: when a process is killed,
or the connection breaks, after the collector has taken a request and before its answer was noted,
that request goes out again. So that the end of a process seldom opens it, no request is begun
before the collector is known to answer, nor when it could not be waited for.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, set_value

from haas_otel import _sdk
from haas_otel.delivery.codec import cut, decode
from haas_otel.delivery.exporters import ExporterState
from haas_otel.delivery.otlp import NOTHING, REQUEST_BYTES, UNKNOWN, Answer, Kind
from haas_otel.delivery.queue import Warnings, by_segment
from haas_otel.delivery.segments import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.exporters import Target
    from haas_otel.delivery.queue import Batch, Queue, Waiting

_logger = logging.getLogger(__name__)
# So many spans that fail one after the other, each alone: the fault is hardly theirs.
_FAILURES_IN_A_ROW = 8
_WORTH_CUTTING = 64 * 1024
_START_SHARE = 2 / 3  # of the time for ending, in which a request is begun
_NOT_ASKED = Answer(Kind.UNREACHABLE)


class Sender:
    """A thread that sends to one exporter what waits in a queue, and keeps that tidy.

    It makes a round when it is woken, asked to, or idle for long. Without a target it only tidies
    up.

    ``delivered`` counts the spans, ``waiting`` says that the last whole round has left some for
    later, ``progressed`` that some went out in the last round, ``sent`` that no round follows it.
    """

    def __init__(self, target: Target | None, queue: Queue) -> None:
        self.key = target.key if target else "index"
        self.target = target
        self.state = ExporterState(queue.journal.directory, self.key)
        self.delivered = 0
        self.waiting = self.progressed = self.sent = self.begun = False
        self.deadline = self._last_deadline = 0.0  # of its end, as ``time.monotonic``
        self.ended = threading.Event()
        self._queue, self._journal, self._limits = queue, queue.journal, queue.limits
        self._exporter: Any = None
        # Taken itself, never by `with self._changed`: that is Python code, in which a signal
        # handler's exception may strike when the lock is taken, and it would be held for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._waiters: list[threading.Event] = []
        self._woken = self._closing = False
        self._wait = self._retry_at = 0.0
        self._start_until = float("inf")
        self._looked_at = float("-inf")
        self._rejected = 0
        self._complained = False
        self._warnings = Warnings()
        self._begin_round()

    def _begin_round(self) -> None:
        """Forget the last one: that nothing more is sent, that something was taken, what failed."""
        self.progressed = self._stopped = self._probed = False
        self._in_a_row = 0
        self._reason = ""
        self._refused: list[tuple[Waiting, str, Answer]] = []

    def wake(self) -> None:
        """Say that there is something to do. Cheap; starts the thread when there is none."""
        if not self._woken:
            with self._lock:
                self._woken = self._ensure_thread()  # for want of threads the next one asks again
                self._changed.notify_all()

    def ask(self) -> threading.Event:
        """Ask for a whole round; what is returned is set when it is done."""
        done = threading.Event()
        with self._lock:
            if self._ensure_thread():
                self._waiters.append(done)
                self._changed.notify_all()
            else:
                done.set()
        return done

    def close_in(self, timeout: timedelta | None) -> None:
        """Have the last round made, in this time or in what the collector is known to need."""
        now, longest = time.monotonic(), timeout or self._limits.longest_exit
        if timeout is None:
            long = self.begun and self.target is not None and self.state.may_wait_long()
            timeout = longest if long else self._limits.exit_time
        self.deadline = now + timeout.total_seconds()
        self._last_deadline = now + longest.total_seconds()
        self._start_until = now + timeout.total_seconds() * _START_SHARE
        with self._lock:
            self._closing = True
            self._changed.notify_all()
            if not self.begun:
                self.ended.set()

    def await_last(self) -> bool:
        """Wait for the last round, for longer where an answer has come meanwhile; say if it was."""
        if self.ended.wait(max(0.0, self.deadline - time.monotonic())) or self.sent:
            return True
        left = self._last_deadline - time.monotonic()
        return bool(self.state.answers) and self.ended.wait(max(0.0, left))

    def _ensure_thread(self) -> bool:
        """Start the thread if there is none, and say whether there is one; with the lock held."""
        if self._thread is None and not self._closing:
            self.begun = True
            self._queue.at_work.add(self)  # here, so that nobody who ends earlier is the last
            try:
                threading.Thread(
                    target=self._run, name=f"haas-otel-{self.key}", daemon=True
                ).start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                self.begun = False
                self._queue.at_work.discard(self)
        return self.begun and not self.ended.is_set()

    def _run(self) -> None:
        with self._lock:
            # A signal handler's exception may have struck between the start of a thread and the
            # note of it: so the thread takes note itself, and a second one finds its place taken.
            if self._thread is not None:
                return
            self._thread = threading.current_thread()
        attach(set_value(_sdk._SUPPRESS_INSTRUMENTATION_KEY, True))
        last = False
        while not last:
            with self._lock:
                if self._changed.wait_for(lambda: self._woken or self._urgent, self._pause()):
                    self._changed.wait_for(lambda: self._urgent, self._limits.delay.total_seconds())
                waiters, self._waiters = self._waiters, []
                self._woken, last = False, self._closing
            try:
                self.work(urgent=last or bool(waiters))
                if last:
                    self._end()
            except Exception:  # noqa: BLE001 - the thread outlives whatever goes wrong
                self._warnings.warn("round", "a round of delivery failed", exc_info=True)
            with self._lock:
                if last:
                    self.ended.set()
                    waiters += self._waiters
            for done in waiters:
                done.set()

    @property
    def _urgent(self) -> bool:
        return self._closing or bool(self._waiters)

    def _pause(self) -> float:
        """Return the seconds until the exporter is to be tried again, or others are looked at."""
        idle = self._limits.idle.total_seconds()
        wait = max(self._retry_at - time.monotonic(), self.state.until - time.time(), 0.05)
        return min(idle, wait) if self.waiting else idle

    def work(self, *, urgent: bool) -> None:
        """Send what waits, until nothing is left or the exporter takes no more, and tidy up."""
        self._begin_round()
        self._journal.restore()
        now, idle = time.monotonic(), self._limits.idle.total_seconds()
        others = now - self._looked_at >= idle or (urgent and not self._closing)
        self._looked_at = now if others else self._looked_at
        if self.target is not None:
            self.state.ask()
            self._send_all(self.target, urgent=urgent, others=others)
        self.sent = self._closing
        if others or urgent:
            self._queue.tidy(others=others, urgent=urgent)

    def _end(self) -> None:
        """Close the exporter; who ends last gives this process's segments up."""
        self._queue.leave(self)
        if self._exporter is not None:
            self._exporter.shutdown()

    def _send_all(self, target: Target, *, urgent: bool, others: bool) -> None:
        self.state.read()
        throttled = time.time() < self.state.until
        if throttled or (not urgent and time.monotonic() < self._retry_at):
            self.waiting = True
            self._looked_at = float("-inf")  # at nothing, yet
            return
        if self._journal.paths and not self.state.answers:
            self._connect()  # while tasks run: when they end, it is known how long to wait
        with self.state.alone() if others else nullcontext(False) as alone:
            waiting = self._queue.waiting(self.key, others=alone)
            for tries, group in groupby(waiting, key=lambda each: each.item.tries):
                if not self._stopped:
                    self._send_group(list(group), tries)
        if kind_of(target.key) != "spans":
            answer = self._request(lambda exporter: exporter.refresh())
            if answer.kind in (Kind.UNANSWERED, Kind.UNREACHABLE) and not self._stopped:
                self._back_off(answer.reason)
        if self._refused and not self.progressed and not self._stopped:
            self._back_off(self._reason)
        self.waiting = not self._give_up() or self._stopped

    def _send_group(self, waiting: list[Waiting], tries: int) -> None:
        # Of those that were not taken together half, and so on: at last one is alone.
        most = max(1, min(len(waiting), self._limits.batch) >> tries)
        for request in _requests(waiting, most):
            batch = self._queue.without_copies(_decoded(request))
            if batch and not self._send(batch):
                return
            sent = {entry for entry, _ in batch}
            self._queue.settle(self.key, [each for each in request if each not in sent])

    def _send(self, batch: Batch) -> bool:
        """Send spans, in as many requests as it takes; say whether to go on in this round."""
        if not self._connect():
            return False
        entries = [entry for entry, _ in batch]
        answer = self._send_once([span for _, span in batch])
        if answer.kind is Kind.TAKEN:
            self._queue.settle(self.key, entries)
        elif answer.kind is Kind.THROTTLED or (answer.kind is Kind.UNANSWERED and len(batch) > 1):
            # What comes behind these is tried next: it may be one of these that is not taken.
            self._queue.settle(self.key, [each.tried() for each in entries], left=True)
        elif answer.kind is not Kind.UNREACHABLE and len(batch) == 1:
            self._send_alone(*batch[0], answer)
        elif answer.kind is not Kind.UNREACHABLE:
            middle = len(batch) // 2
            return self._send(batch[:middle]) and self._send(batch[middle:])
        return not self._stopped

    def _send_alone(self, entry: Waiting, span: ReadableSpan, answer: Answer) -> None:
        """Do what can be done for a span that was refused alone."""
        too_large = answer.kind is Kind.TOO_LARGE and entry.item.length > _WORTH_CUTTING
        if too_large:
            (text,) = entry.segment.texts([entry.item])
            answer = self._send_once([decode(cut(text))])
            if answer.kind is Kind.TAKEN:
                _logger.warning("a span was too large for %s, and is cut: %s", self.key, span.name)
                self._queue.settle(self.key, [entry])
            if answer.kind in (Kind.TAKEN, Kind.UNREACHABLE, Kind.THROTTLED):
                return
        self._in_a_row += 1
        if self._in_a_row >= _FAILURES_IN_A_ROW:
            self._back_off(answer.reason)
        self._reason = answer.reason
        tried = entry.tried()
        self._queue.settle(self.key, [tried], left=True)
        if too_large:
            answer = answer._replace(kind=Kind.REFUSED)
        identifier = f" {span.context.span_id:016x}" if span.context else ""
        name = f"{span.name}{identifier} ({answer.reason or 'refused'})"
        self._refused.append((tried, name, answer))

    def _give_up(self) -> bool:
        """Count the refusals of a round, and give up what is hopeless; say if all of it is."""
        given_up = []
        for entry, name, answer in self._refused if self.progressed else ():
            # Others were taken: the fault is its own, unless the collector had too much to do.
            item = entry.item._replace(refused=entry.item.refused + answer.is_error)
            keep = answer.kind is not Kind.REFUSED and item.refused < self._limits.most_tries
            self._queue.settle(self.key, [entry._replace(item=item)], left=keep)
            if not keep:
                given_up.append(name)
        if given_up:
            names = ", ".join(given_up[:3]) + (" ..." if len(given_up) > 3 else "")
            text = "%s does not take %d spans, given up: %s"
            _logger.error(text, self.key, len(given_up), names)
        return len(given_up) == len(self._refused)

    def _connect(self) -> bool:
        """Learn whether a collector that is not known to answer does, before it gets a span."""
        if not self.state.answers and not self._probed:
            self._probe("")
        return self._may_ask()

    def _send_once(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Make one request; what is no span's fault counts as if nobody had answered."""
        answer = self._request(lambda exporter: exporter.send(spans), len(spans))
        if answer is _NOT_ASKED:
            return answer
        at_fault = answer.kind in (Kind.FAILED, Kind.UNANSWERED, Kind.UNREACHABLE)
        # The collector's fault, or that of a span? One that does not even take nothing is down.
        if at_fault and not (self._probed or self.progressed) and not self._probe(answer.reason):
            return answer._replace(kind=Kind.UNREACHABLE)
        if answer.kind is Kind.UNANSWERED:  # an answer to it may still come: not in this round
            self._back_off(answer.reason)
        return answer if answer.kind is not Kind.UNREACHABLE else answer._replace(kind=Kind.FAILED)

    def _probe(self, reason: str) -> bool:
        """Learn whether the collector takes anything, even nothing; say if that may be."""
        answer = self._request(lambda exporter: exporter.probe())
        # Some refuse what is empty: only sending something shows whether they are well.
        says_so = answer is UNKNOWN or (answer.is_error and answer.code != "")
        self._probed = says_so or answer.kind in (Kind.TAKEN, Kind.REFUSED)
        if not self._probed and answer is not _NOT_ASKED:
            self.state.note(answers=answer.kind is Kind.THROTTLED)
            self._back_off(reason or answer.reason)
        return self._probed

    def _may_ask(self) -> bool:
        """Make the exporter if there is none yet, and say whether a request may be begun."""
        try:
            if self._exporter is None and self.target is not None:
                self._exporter = self.target.load()
        except Exception as error:  # noqa: BLE001 - exporters are plugins; the spans stay
            self._back_off(str(error))
        self._stopped = self._stopped or time.monotonic() >= self._start_until
        return not self._stopped

    def _request(self, request: Callable[[Any], Answer], count: int = 0) -> Answer:
        """Make one request with so many spans, if one may be begun, and account for its answer."""
        if not self._may_ask():
            return _NOT_ASKED
        try:
            answer = request(self._exporter)
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            return Answer(Kind.FAILED, str(error) or type(error).__name__)
        if answer is UNKNOWN or answer is NOTHING:
            self.delivered += count
            return answer
        if answer.kind is Kind.THROTTLED:
            self.state.throttle(answer.wait)
            self._back_off(answer.reason)
        elif answer.kind is Kind.TAKEN:
            self._wait = self._retry_at = 0.0
            self._in_a_row, self._complained = 0, False
            self.delivered += count
            self.progressed = self.progressed or count > 0
        self.state.note(answers=answer.kind not in (Kind.UNANSWERED, Kind.UNREACHABLE))
        if answer.rejected:
            self._rejected += answer.rejected
            text = "%s took requests in part, and rejected %d spans so far: %s"
            self._warnings.warn("partial", text, self.key, self._rejected, answer.reason)
        return answer

    def _back_off(self, reason: str) -> None:
        self._stopped = True
        first, last = self._limits.first_retry, self._limits.last_retry
        self._wait = min(max(first.total_seconds(), 2 * self._wait), last.total_seconds())
        self._retry_at = time.monotonic() + self._wait
        if reason and not self._complained:
            self._complained = True
            _logger.warning("spans cannot be sent to %s yet: %s", self.key, reason)


def _requests(waiting: Sequence[Waiting], most: int) -> Iterator[list[Waiting]]:
    """Yield as many of them as go into one request by their number and by their bytes."""
    request: list[Waiting] = []
    size = 0
    for entry in waiting:
        size += entry.item.length
        if request and (len(request) >= most or size > REQUEST_BYTES):
            yield request
            request, size = [], entry.item.length
        request.append(entry)
    yield request


def _decoded(entries: Sequence[Waiting]) -> Batch:
    texts = chain.from_iterable(segment.texts(items) for segment, items in by_segment(entries))
    batch = []
    for entry, text in zip(entries, texts, strict=True):
        try:
            batch.append((entry, decode(text)))
        except ValueError as error:
            _logger.error("a stored span cannot be read, so it is not sent: %s", error)
    return batch
