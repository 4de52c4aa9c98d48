"""Sending to one exporter: in requests that it takes, and around spans that it does not.

A request that is refused is sent again in halves, until the span that it is about is alone. That is
cut where it is too large, and given up with a word when others are taken and it is not. What the
collector throttles waits for the moment that it has named, in this process or the next.

Each span is delivered once, but for one window that no sender can close: when a process is killed,
or the connection breaks, after the collector has taken a request and before its answer was noted,
that request goes out again. So that the end of a process seldom opens it, no request is begun
before the collector is known to answer, nor when it could not be waited for.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from haas_otel.delivery.codec import SpanDecoder, cut
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.journal import locked
from haas_otel.delivery.limits import REQUEST_BYTES
from haas_otel.delivery.otlp import Answer, Kind
from haas_otel.delivery.segments import Segments, recipients
from haas_otel.delivery.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.exporters import Target
    from haas_otel.delivery.journal import Journal
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.segments import Item, Segment

    Batch = Sequence[tuple[Item, ReadableSpan]]

_logger = logging.getLogger(__name__)
# So many spans that fail one after the other, each alone: the fault is hardly theirs.
_FAILURES_IN_A_ROW = 8
_FIND_OUT_EVERY_SECONDS = _PRUNE_EVERY_SECONDS = 3600
_WORTH_CUTTING = 64 * 1024
_SMALLEST_SPAN = 200  # bytes of a line: less is not worth to be counted
_START_SHARE = 2 / 3  # of the time for ending, in which a request is begun


class ExporterState:
    """What is known of an exporter, in a file: when to try again, and whether it answers.

    ``until`` in seconds since the epoch; ``answers`` None as long as nothing is known. Whether one
    is slow or silent only waiting shows: the end of a process waits longer for it once in an hour.
    Whoever holds the lock on the file sends what dead processes have left.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self._path = directory / f"exporter-{quote(key, safe='')}.json"
        self.until = self._waited_at = 0.0
        self.answers: bool | None = None
        self.read()

    def read(self) -> None:
        """Learn what other processes have learnt."""
        with suppress(OSError, ValueError, TypeError):
            self.until, self.answers, self._waited_at = json.loads(self._path.read_text())

    def throttle(self, seconds: float) -> None:
        """Have nobody send for so long."""
        self.until = time.time() + seconds
        self._write()

    def note(self, *, answers: bool) -> None:
        """Note whether an answer came."""
        if answers is not self.answers:
            self.answers = answers
            self._write()

    def may_wait_long(self) -> bool:
        """Say whether the end of a process waits until an answer comes."""
        if self.answers is False and time.time() - self._waited_at >= _FIND_OUT_EVERY_SECONDS:
            self._waited_at = time.time()
            self._write()
            return True
        return bool(self.answers)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Be the only process that sends what others left, or say that another one is."""
        if not self._path.exists():
            self._write()
        with ExitStack() as stack:
            free = False
            with suppress(OSError):  # there is no disk, and so nothing that others left
                free = stack.enter_context(locked(self._path))
            yield free

    def _write(self) -> None:
        # In one call, and in the file that others may hold the lock on.
        text = json.dumps([self.until, self.answers, self._waited_at]).ljust(80)
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(descriptor, text.encode(), 0)
            os.close(descriptor)


class Sender(Worker):
    """Sends to one exporter, of those that are ``asked`` for, what waits for it, and tidies up.

    Without a target it only tidies up: spans are taken into the index, and segments removed of
    which all is sent. ``delivered`` counts the spans, ``waiting`` says that some are left for
    later, ``progressed`` that some went out in the last round, ``sent`` that no round follows it.
    """

    def __init__(
        self,
        directory: Path,
        target: Target | None,
        asked: tuple[str, ...],
        limits: Limits,
        journal: Journal,
    ) -> None:
        self.key = target.key if target else "index"
        super().__init__(f"haas-otel-{self.key}", limits.delay)
        self.target = target
        self.state = ExporterState(directory, self.key)
        self.delivered = 0
        self.waiting = self.progressed = self.sent = False
        self.deadline = self._last_deadline = 0.0  # of its end, as ``time.monotonic``
        self._asked = asked
        self._limits = limits
        self._journal = journal
        self._segments = Segments(directory, journal, self.key, asked)
        self._index = Index(directory, limits)
        self._exporter: Any = None
        self._wait = self._retry_at = 0.0
        self._start_until = float("inf")
        self._looked_at = self._pruned_at = float("-inf")
        self._rejected = self._dropped = self._size = 0
        self._complained = False
        self._begin_round()
        journal.enter()

    def _begin_round(self) -> None:
        """Forget the last one: that nothing more is sent, that something was taken, what failed."""
        self.progressed = self._stopped = self._healthy = False
        self._in_a_row = 0
        self._reason: str | None = None
        self._given_up: list[str] = []

    def close_in(self, timeout: timedelta | None) -> None:
        """Have the last round made, in this time or in what the collector is known to need."""
        now, longest = time.monotonic(), timeout or self._limits.longest_exit
        if timeout is None:
            long = self.begun and self.target is not None and self.state.may_wait_long()
            timeout = longest if long else self._limits.exit_time
        self.deadline = now + timeout.total_seconds()
        self._last_deadline = now + longest.total_seconds()
        self._start_until = now + timeout.total_seconds() * _START_SHARE
        if not self.begun:
            self._journal.leave()
        self.close()

    def await_last(self) -> bool:
        """Wait for the last round, for longer where an answer has come meanwhile; say if it was."""
        if self.await_end(self.deadline) or self.sent:
            return True
        return bool(self.state.answers) and self.await_end(self._last_deadline)

    def pause(self) -> float:
        """Return the seconds until the exporter is to be tried again, or others are looked at."""
        idle = self._limits.idle.total_seconds()
        wait = max(self._retry_at - time.monotonic(), self.state.until - time.time(), 0.05)
        return min(idle, wait) if self.waiting else idle

    def work(self, *, urgent: bool) -> None:
        """Send what waits, until nothing is left or the exporter takes no more, and tidy up."""
        self._begin_round()
        now, idle = time.monotonic(), self._limits.idle.total_seconds()
        others = now - self._looked_at >= idle or (urgent and not self._closing)
        self._looked_at = now if others else self._looked_at
        if self.target is not None:
            self._send_all(self.target, urgent=urgent, others=others)
        self.sent = self._closing
        if others or urgent:
            self._tidy(self._journal.begun, others=others, urgent=urgent)

    def end(self) -> None:
        """Close the exporter; who ends last gives this process's segments up."""
        own = self._journal.begun
        if self._journal.leave() and own:
            self._tidy(own, others=False, urgent=True)
        self._index.close()
        try:
            if self._exporter is not None:
                self._exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            _logger.warning("%s did not shut down: %s", self.key, error)

    def forget_after_fork(self) -> object:
        """Return what belongs to the parent and must neither be used nor closed in a child."""
        return self, self._index.forget_after_fork()

    def _send_all(self, target: Target, *, urgent: bool, others: bool) -> None:
        self.state.read()
        throttled = time.time() < self.state.until
        self.waiting = throttled or (not urgent and time.monotonic() < self._retry_at)
        if self.waiting:
            return
        if self._journal.begun and not self.state.answers:
            self._connect()  # while tasks run: when they end, it is known how long to wait
        with self.state.alone() if others else nullcontext(False) as alone:
            segments = self._segments.to_send(self._journal.begun, others=alone)
            self._drop_excess(segments)
            for segment in segments:
                if not self._stopped:
                    self._send_segment(segment)
        if not target.is_of_spans and self._may_ask():
            self._account(self._ask(lambda exporter: exporter.refresh()), 0)
        if self._reason is not None and not self._healthy and not self._stopped:
            self._back_off(self._reason)
        self.waiting = self._stopped or self._reason is not None
        if count := len(self._given_up):
            names = ", ".join(self._given_up[:3]) + (" ..." if count > 3 else "")
            _logger.error("%s does not take %d spans, given up: %s", self.key, count, names)

    def _send_segment(self, segment: Segment) -> None:
        groups: dict[int, list[Item]] = {}
        for item in segment.read().waiting.values():
            groups.setdefault(item.tries, []).append(item)
        for tries, group in sorted(groups.items()):
            # Of those that were not taken together only half: at last one is alone.
            for items in self._requests(group[: max(1, len(group) // 2)] if tries else group):
                batch = self._without_copies(segment, self._decoded(segment, items))
                if not self._send(segment, batch):
                    return
                if left_out := sorted({*items} - {item for item, _ in batch}):
                    segment.settle(left_out)

    def _requests(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Yield as many of them as go into one request by their number and by their bytes."""
        request: list[Item] = []
        size = 0
        for item in items:
            size += item.length
            if request and (len(request) >= self._limits.batch or size > REQUEST_BYTES):
                yield request
                request, size = [], item.length
            request.append(item)
        if request:
            yield request

    def _decoded(self, segment: Segment, items: Sequence[Item]) -> Batch:
        decoder, batch = SpanDecoder(), []
        for item, text in zip(items, segment.texts(items), strict=True):
            try:
                batch.append((item, decoder.decode(text)))
            except ValueError as error:
                _logger.error("a stored span cannot be read, so it is not sent: %s", error)
        return batch

    def _without_copies(self, segment: Segment, batch: Batch) -> Batch:
        """Leave out spans that another process has written, too, and that go out from there."""
        if segment.path == self._journal.memory:
            return batch
        try:
            self._index.read([segment.path])
            copies = self._index.copies(segment.path, batch)
        except IndexUnusable as error:
            _logger.debug("a span may be sent twice: %s", error)
            return batch
        return [(item, span) for item, span in batch if item.offset not in copies]

    def _send(self, segment: Segment, batch: Batch) -> bool:
        """Send spans, in as many requests as it takes; say whether to go on in this round."""
        if not batch:
            return True
        if not self._connect():
            return False
        items = [item for item, _ in batch]
        answer = self._request([span for _, span in batch])
        if answer.kind is Kind.TAKEN:
            segment.settle(items)
        elif answer.kind is Kind.THROTTLED:
            # What comes behind these is tried next: it may be one of these that is not taken.
            tried = [item._replace(tries=item.tries + 1) for item in items]
            segment.settle(tried, left=True)
        elif answer.kind is not Kind.UNREACHABLE and len(batch) == 1:
            self._send_alone(segment, *batch[0], answer)
        elif answer.kind is not Kind.UNREACHABLE:
            middle = len(batch) // 2
            return self._send(segment, batch[:middle]) and self._send(segment, batch[middle:])
        return not self._stopped

    def _send_alone(self, segment: Segment, item: Item, span: ReadableSpan, answer: Answer) -> None:
        """Do what can be done for a span that was refused alone."""
        too_large = answer.kind is Kind.TOO_LARGE and item.length > _WORTH_CUTTING
        if too_large:
            (text,) = segment.texts([item])
            answer = self._request([SpanDecoder().decode(cut(text))])
            if answer.kind is Kind.TAKEN:
                _logger.warning("a span was too large for %s, and is cut: %s", self.key, span.name)
                segment.settle([item])
            if answer.kind in (Kind.TAKEN, Kind.UNREACHABLE, Kind.THROTTLED):
                return
        self._in_a_row += 1
        if self._in_a_row >= _FAILURES_IN_A_ROW:
            self._back_off(answer.reason)
        counted = self._healthy
        tried = item._replace(tries=item.tries + counted, refused=item.refused + counted)
        hopeless = too_large or answer.kind is Kind.REFUSED
        if counted and (hopeless or tried.refused >= self._limits.most_tries):
            identifier = f" {span.context.span_id:016x}" if span.context else ""
            self._given_up.append(f"{span.name}{identifier} ({answer.reason or 'refused'})")
            segment.settle([item])
        else:
            self._reason = answer.reason
            segment.settle([tried], left=True)

    def _may_ask(self) -> bool:
        """Make the exporter if there is none yet, and say whether a request may be begun."""
        try:
            if self._exporter is None and self.target is not None:
                self._exporter = self.target.load()
        except Exception as error:  # noqa: BLE001 - exporters are plugins; the spans stay
            self._back_off(str(error))
        self._stopped = self._stopped or time.monotonic() >= self._start_until
        return not self._stopped

    def _connect(self) -> bool:
        """Learn whether a collector that is not known to answer does, before it gets a span."""
        if self._may_ask() and not self.state.answers:
            answer = self._ask(lambda exporter: exporter.probe())
            if answer is not None and answer.kind in (Kind.UNREACHABLE, Kind.THROTTLED):
                self._account(answer, 0)
        return self._may_ask()

    def _request(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Make one request, and account for its answer."""
        if not self._may_ask():
            return Answer(Kind.UNREACHABLE)
        answer = self._ask(lambda exporter: exporter.send(spans)) or Answer(Kind.FAILED)
        by_content = answer.kind in (Kind.TOO_LARGE, Kind.REFUSED) and len(spans) == 1
        if (by_content or answer.kind is Kind.FAILED) and not self._healthy and self._may_ask():
            # The collector's fault, or that of a span? One that does not even take nothing is down.
            nothing = self._ask(lambda exporter: exporter.probe())
            self._healthy = nothing is not None and nothing.kind is Kind.TAKEN
            if nothing is not None and not self._healthy and answer.kind is Kind.FAILED:
                answer = answer._replace(kind=Kind.UNREACHABLE)
        self._account(answer, len(spans))
        return answer

    def _ask(self, request: Callable[[Any], Answer | None]) -> Answer | None:
        try:
            answer = request(self._exporter)
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            return Answer(Kind.FAILED, str(error) or type(error).__name__)
        if answer is not None and answer.kind is not Kind.UNREACHABLE:
            self.state.note(answers=True)
        return answer

    def _account(self, answer: Answer | None, count: int) -> None:
        if answer is None:
            return
        if answer.kind is Kind.TAKEN:
            self._wait = self._retry_at = 0.0
            self._in_a_row, self._complained = 0, False
            self.delivered += count
            self._healthy = self.progressed = self._healthy or count > 0
        elif answer.kind is Kind.THROTTLED:
            self._stopped = True
            self.state.throttle(answer.wait)
        elif answer.kind is Kind.UNREACHABLE:
            self.state.note(answers=False)
            self._back_off(answer.reason)
        if answer.rejected:
            self._rejected += answer.rejected
            text = "%s took requests in part, and rejected %d spans so far: %s"
            self.warn("partial", text, self.key, self._rejected, answer.reason)

    def _back_off(self, reason: str) -> None:
        self._stopped = True
        first, last = self._limits.first_retry, self._limits.last_retry
        self._wait = min(max(first.total_seconds(), 2 * self._wait), last.total_seconds())
        self._retry_at = time.monotonic() + self._wait
        if reason and not self._complained:
            self._complained = True
            _logger.warning("spans cannot be sent to %s yet: %s", self.key, reason)

    def _drop_excess(self, segments: Sequence[Segment]) -> None:
        """Give up the oldest spans beyond the limits."""
        limits, size = self._limits, sum(segment.size for segment in segments)
        few = size < limits.max_pending_spans * _SMALLEST_SPAN and size <= limits.max_bytes
        if few or size == self._size:
            return
        self._size = size
        found = [
            (segment, item)
            for segment in segments
            for item in sorted(segment.read().waiting.values())
        ]
        kept, room = 0, limits.max_bytes
        for _, item in reversed(found[-limits.max_pending_spans :]):
            room -= item.length
            kept += room >= 0
        for segment, dropped in groupby(found[: len(found) - kept], key=lambda pair: pair[0]):
            segment.settle([item for _, item in dropped])
        if kept < len(found):
            self._dropped += len(found) - kept
            text = "%d undelivered spans for %s dropped so far, oldest first"
            self.warn("dropped", text, self._dropped, self.key)

    def _tidy(self, own: str | None, *, others: bool, urgent: bool) -> None:
        """Have segments in the index, and remove those of which all is sent."""
        segments = self._segments.to_send(own, others=others)
        memory, writing = self._segments.memory, self._journal.current
        if memory is not None:
            segments.remove(memory)
            if self._asked and self._is_done(memory.read()):
                self._journal.forget_memory()
        try:
            # What is written now is read by whoever asks, and at the end: here it would only take
            # time from the thread that writes it.
            self._index.read(each.path for each in segments if urgent or each.path != writing)
            known = self._index.segments()
            for segment in segments:
                read = known.get(segment.path.name, 0) >= segment.read().end
                if read and segment.path != writing and self._is_done(segment):
                    self._segments.remove(segment)
            if segments and time.monotonic() - self._pruned_at > _PRUNE_EVERY_SECONDS:
                self._pruned_at = time.monotonic()
                self._index.prune()
        except (OSError, IndexUnusable) as error:
            self.warn("index", "the trace store cannot be used: %s", error)

    def _is_done(self, segment: Segment) -> bool:
        """Say whether nobody is to get a span of a segment any more."""
        gone = set()
        for names in segment.names:
            due = recipients(names, self._asked)
            for key in {*names.split(",")} - due:
                self.warn(key, "%s is asked for no more: what waits for it goes to others", key)
            waiting = {key for key in due if segment.waits_for(key)}
            gone |= waiting.difference(self._asked)
            if waiting.intersection(self._asked):
                return False
        if gone and segment.age <= self._limits.unasked_for.total_seconds():
            return False
        for key in gone:
            _logger.warning("%s is asked for no more: what waited for it is given up", key)
        return True
