"""Sending to one exporter: in requests that it takes, and around spans that it does not.

A request that is refused is sent again in halves, until the span that it is about is alone. That is
cut where it is too large, and given up with a word when others are taken and it is not. What the
collector throttles waits for the moment that it has named, in this process or the next.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from haas_otel.delivery.codec import SpanDecoder, cut
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.otlp import Answer, Kind
from haas_otel.delivery.queue import Item, Progress
from haas_otel.delivery.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.exporters import SpanExporting, SpanTarget
    from haas_otel.delivery.journal import Journal
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.metrics import MetricsTarget, TaskMetrics
    from haas_otel.delivery.queue import Queue

    Target = SpanTarget | MetricsTarget
    Batch = Sequence[tuple[Item, ReadableSpan]]

_logger = logging.getLogger(__name__)
# So many spans that fail one after the other, each alone: the fault is hardly theirs.
_FAILURES_IN_A_ROW = 8
_FIND_OUT_EVERY_SECONDS = 3600
_WORTH_CUTTING = 64 * 1024
_BY_CONTENT = (Kind.TOO_LARGE, Kind.REFUSED)


class ExporterState:
    """What is known of an exporter, on disk: when to try again, and how long it takes to answer.

    ``until`` in seconds since the epoch, ``answers_in`` in seconds, None where it does not answer.
    Whether one is slow or silent only waiting shows: the end of a process waits longer for it once
    in an hour, ``waited_at``, when one before has ended without an answer.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self._path = directory / f"exporter-{quote(key, safe='')}.json"
        self.until = 0.0
        self.answers_in: float | None = None
        self.unanswered, self.waited_at = False, 0.0
        self.read()

    def read(self) -> None:
        """Learn what other processes have learnt."""
        with suppress(OSError, ValueError, TypeError):
            until, answers_in, self.unanswered, self.waited_at = json.loads(self._path.read_text())
            self.until = float(until)
            self.answers_in = None if answers_in is None else float(answers_in)

    def throttle(self, seconds: float) -> None:
        """Have nobody send for so long."""
        self.until = time.time() + seconds
        self._write()

    def answered(self, seconds: float) -> None:
        """Note how long an answer took: the longest, but for what is long ago."""
        known = self.answers_in
        self.answers_in = seconds if known is None else max(seconds, 0.8 * known + 0.2 * seconds)
        if known is None or not known / 2 < self.answers_in < known * 2:
            self._write()

    def silent(self) -> None:
        """Note that no answer came."""
        if self.answers_in is not None:
            self.answers_in = None
            self._write()

    def ended_unanswered(self) -> None:
        """Note that a process has ended before an answer came."""
        self.unanswered = True
        self._write()

    def may_wait_long(self) -> bool:
        """Say whether to find out now if it is slow or silent, and note that."""
        if not self.unanswered or 0 <= time.time() - self.waited_at < _FIND_OUT_EVERY_SECONDS:
            return False
        self.unanswered, self.waited_at = False, time.time()
        self._write()
        return True

    def _write(self) -> None:
        draft = self._path.with_name(f".{self._path.name}.{threading.get_native_id()}")
        with suppress(OSError):
            known = [self.until, self.answers_in, self.unanswered, self.waited_at]
            draft.write_text(json.dumps(known))
            draft.rename(self._path)


@dataclass(frozen=True)
class _Source:
    """Where spans are sent from; without a path, from memory."""

    path: Path | None
    progress: Progress


class Dispatcher(Worker):
    """Sends to one exporter what waits for it.

    ``delivered`` counts the spans, ``waiting`` says that some are left for later, ``progressed``
    that some went out in the last round; ``in_memory`` is the number of the next line there.
    """

    def __init__(
        self, directory: Path, target: Target, limits: Limits, journal: Journal, queue: Queue
    ) -> None:
        super().__init__(f"haas-otel-{target.key}", limits)
        self.key, self.sends_spans = target.key, target.sends_spans
        self.state = ExporterState(directory, target.key)
        self.delivered = self.in_memory = 0
        self.waiting = self.progressed = False
        self._target = target
        self._journal = journal
        self._queue = queue
        self._index = Index(directory, limits)
        self._exporter: SpanExporting | TaskMetrics | None = None
        self._delay = self._retry_at = 0.0
        self._start_until: float | None = None
        # Of one round: nothing more is sent; something was taken; what failed alone since, and why.
        self._stopped = self._healthy = False
        self._in_a_row = 0
        self._reason: str | None = None
        self._given_up: list[str] = []
        self._rejected = 0
        self._complained = False

    def exit_time(self) -> tuple[float, float]:
        """Return for how many seconds a process that ends begins requests, and waits for them."""
        limits, needed = self._limits, self.state.answers_in
        wait = max(limits.exit_time.total_seconds(), 2.5 * (needed or 0.0))
        if needed is None and self.begun and self.state.may_wait_long():
            wait = limits.longest_exit.total_seconds()
        wait = min(wait, limits.longest_exit.total_seconds())
        share = limits.exit_start / limits.exit_time
        return max(0.0, min(wait - 1.3 * (needed or 0.0), wait * share)), wait

    def close_in(self, seconds: float) -> None:
        """Have the last round made, in which no request is begun after so many seconds."""
        self._start_until = time.monotonic() + seconds
        self.close()

    def pause(self) -> float:
        """Return the seconds until the exporter is to be tried again."""
        if not self.waiting:
            return super().pause()
        wait = max(self._retry_at - time.monotonic(), self.state.until - time.time())
        return min(super().pause(), max(0.05, wait))

    def work(self, *, urgent: bool) -> None:
        """Send what waits, until nothing is left or the exporter takes no more."""
        self.progressed = self._stopped = self._healthy = False
        self._in_a_row, self._reason = 0, None
        self.state.read()
        throttled = time.time() < self.state.until
        self.waiting = throttled or (not urgent and time.monotonic() < self._retry_at)
        if self.waiting:
            return
        if self._journal.begun and self.state.answers_in is None:
            self._connect()  # while tasks run: when they end, it is known how long to wait
        for owner_id, path in self._queue.segments(others=self.looks_at_others(urgent=urgent)):
            with self._queue.claim(owner_id, path, self.key) as progress:
                if progress is not None and not self._stopped:
                    self._send_segment(_Source(path, progress))
        if not self._journal.all_on_disk:
            self._send_memory()
        if not self.sends_spans and not self._stopped and self._load():
            self._account(self._call(lambda exporter: exporter.refresh()), 0)
        if self._reason is not None and not self._healthy and not self._stopped:
            self._back_off(self._reason)
        self.waiting = self._stopped or self._reason is not None
        self._say_what_is_given_up()

    def end(self) -> None:
        """Close the exporter."""
        self._index.close()
        try:
            if self._exporter is not None:
                self._exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            _logger.warning("%s did not shut down: %s", self.key, error)

    def forget_after_fork(self) -> object:
        """Return what belongs to the parent and must neither be used nor closed in a child."""
        return self._exporter, self._index.forget_after_fork()

    def _may_start(self) -> bool:
        if self._start_until is not None and time.monotonic() >= self._start_until:
            self._stopped = True
        return not self._stopped

    def _load(self) -> bool:
        """Make the exporter if there is none yet, and say whether a request may be begun."""
        if self._exporter is None:
            try:
                self._exporter = self._target.load()
            except Exception as error:  # noqa: BLE001 - exporters are plugins; the spans stay
                self._back_off(str(error))
        return self._may_start()

    def _connect(self) -> bool:
        """Learn whether a collector of which nothing is known answers, before it gets a span.

        So no span is sent twice because an answer came after the end of a process.
        """
        if self._load() and self.state.answers_in is None:
            answer = self._call(lambda exporter: exporter.probe())
            if answer is not None and answer.kind in (Kind.UNREACHABLE, Kind.THROTTLED):
                self._account(answer, 0)
        return self._may_start()

    def _send_segment(self, source: _Source) -> None:
        path, progress = source.path, source.progress
        assert path is not None  # noqa: S101 - for the type checker
        before = dict(progress.left)
        while True:
            items, end = self._queue.take(path, self.key, progress)
            if end == progress.position:
                break
            if not self._send(source, self._without_copies(path, self._decode(items))):
                return
            if progress.position < end:
                progress.position = end
                self._queue.save(path, self.key, progress)
        for tries in sorted(set(before.values())):
            left = self._queue.take_left(path, self.key, before, tries)
            batch = self._decode(left)
            for item in left if len(batch) < len(left) else ():
                progress.left.pop(item.offset)  # those that are sent come back if they have to
            if not self._send(source, batch):
                return

    def _send_memory(self) -> None:
        """Send lines that no disk takes, which are this process's alone."""
        lines = self._journal.in_memory()
        items = [
            Item(number, number + 1, line.partition(b"\t")[2].decode("utf-8", "replace"))
            for number, line in lines.items()
            if number >= self.in_memory
        ]
        source, size = _Source(None, Progress(self.in_memory)), self._limits.batch
        for start in range(0, len(items), size):
            self._send(source, self._decode(items[start : start + size]))
        self.in_memory = min([source.progress.position, *source.progress.left])

    def _without_copies(self, path: Path, batch: Batch) -> Batch:
        """Leave out spans that another process has written, too, and that go out from there."""
        if not batch:
            return batch
        ids = [
            (item.offset, f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
            for item, span in batch
            if span.context
        ]
        try:
            self._index.read([path])
            copies = self._index.copies(path, ids)
        except IndexUnusable as error:
            _logger.debug("a span may be sent twice: %s", error)
            return batch
        return [(item, span) for item, span in batch if item.offset not in copies]

    def _decode(self, items: Sequence[Item]) -> Batch:
        decoder, batch = SpanDecoder(), []
        for item in items:
            try:
                batch.append((item, decoder.decode(item.body)))
            except ValueError as error:
                _logger.error("a stored span cannot be read, so it is not sent: %s", error)
        return batch

    def _send(self, source: _Source, batch: Batch) -> bool:
        """Send spans, in as many requests as it takes; say whether to go on in this round."""
        if not batch:
            return True
        if not self._connect():
            return False
        items = [item for item, _ in batch]
        answer = self._request([span for _, span in batch])
        if answer.kind is Kind.TAKEN:
            self._settle(source, items)
        elif answer.kind is Kind.THROTTLED:
            # What comes behind these is tried next: it may be one of these that is not taken.
            self._settle(source, items, left=True, tried=True)
        elif answer.kind is not Kind.UNREACHABLE and len(batch) == 1:
            self._send_alone(source, *batch[0], answer)
        elif answer.kind is not Kind.UNREACHABLE:
            middle = len(batch) // 2
            return self._send(source, batch[:middle]) and self._send(source, batch[middle:])
        return not self._stopped

    def _send_alone(self, source: _Source, item: Item, span: ReadableSpan, answer: Answer) -> None:
        """Do what can be done for a span that was refused alone."""
        too_large = answer.kind is Kind.TOO_LARGE and len(item.body) > _WORTH_CUTTING
        if too_large:
            shorter = self._decode([Item(item.offset, item.end, cut(item.body))])
            answer = self._request([span for _, span in shorter])
            if answer.kind is Kind.TAKEN:
                _logger.warning("a span was too large for %s, and is cut: %s", self.key, span.name)
                self._settle(source, [item])
            if answer.kind in (Kind.TAKEN, Kind.UNREACHABLE, Kind.THROTTLED):
                return
        self._in_a_row += 1
        if self._in_a_row >= _FAILURES_IN_A_ROW:
            self._back_off(answer.reason)
        hopeless = too_large or answer.kind is Kind.REFUSED
        if self._healthy and (hopeless or item.tries + 1 >= self._limits.most_tries):
            identifier = f" {span.context.span_id:016x}" if span.context else ""
            self._given_up.append(f"{span.name}{identifier} ({answer.reason or 'refused'})")
            self._settle(source, [item])
        else:
            self._reason = answer.reason
            self._settle(source, [item], left=True, tried=self._healthy)

    def _settle(
        self, source: _Source, items: Sequence[Item], *, left: bool = False, tried: bool = False
    ) -> None:
        """Note that spans are sent, or ``left`` for later; ``tried`` counts that against them."""
        progress = source.progress
        for item in items:
            progress.left.pop(item.offset, None)
            if left:
                progress.left[item.offset] = item.tries + tried
        progress.position = max(progress.position, items[-1].end)
        if source.path is not None:
            self._queue.save(source.path, self.key, progress)

    def _request(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Make one request, and account for its answer."""
        if not self._may_start():
            return Answer(Kind.UNREACHABLE)
        answer = self._call(lambda exporter: exporter.send(spans)) or Answer(Kind.FAILED)
        doubtful = answer.kind is Kind.FAILED or (len(spans) == 1 and answer.kind in _BY_CONTENT)
        if doubtful and not self._healthy and self._may_start():
            # The collector's fault, or that of a span? One that does not even take nothing is down.
            nothing = self._call(lambda exporter: exporter.probe())
            self._healthy = nothing is not None and nothing.kind is Kind.TAKEN
            if nothing is not None and not self._healthy and answer.kind is Kind.FAILED:
                answer = Answer(Kind.UNREACHABLE, answer.reason, answer.code)
        self._account(answer, len(spans))
        return answer

    def _call(self, ask: Callable[[Any], Answer | None]) -> Answer | None:
        began = time.monotonic()
        try:
            answer = ask(self._exporter)
        except Exception as error:  # noqa: BLE001 - exporters are plugins
            return Answer(Kind.FAILED, str(error) or type(error).__name__)
        if answer is not None and answer.kind is not Kind.UNREACHABLE:
            self.state.answered(time.monotonic() - began)
        return answer

    def _account(self, answer: Answer | None, count: int) -> None:
        if answer is None:
            return
        if answer.kind is Kind.TAKEN:
            self._delay = self._retry_at = 0.0
            self._in_a_row, self._complained = 0, False
            self.delivered += count
            self._healthy = self.progressed = self._healthy or count > 0
        elif answer.kind is Kind.THROTTLED:
            self._stopped = True
            self.state.throttle(answer.wait)
        elif answer.kind is Kind.UNREACHABLE:
            self.state.silent()
            self._back_off(answer.reason)
        if answer.rejected:
            self._rejected += answer.rejected
            self.warn(
                "partial",
                "%s took requests in part, and rejected %d spans so far: %s",
                self.key,
                self._rejected,
                answer.reason,
            )

    def _back_off(self, reason: str) -> None:
        self._stopped = True
        first, last = self._limits.first_retry, self._limits.last_retry
        self._delay = min(max(first.total_seconds(), 2 * self._delay), last.total_seconds())
        self._retry_at = time.monotonic() + self._delay
        if reason and not self._complained:
            self._complained = True
            _logger.warning("spans cannot be sent to %s yet: %s", self.key, reason)

    def _say_what_is_given_up(self) -> None:
        given_up, self._given_up = self._given_up, []
        if given_up:
            more = " ..." if len(given_up) > 3 else ""
            names = ", ".join(given_up[:3]) + more
            _logger.error("%s does not take %d spans, given up: %s", self.key, len(given_up), names)
