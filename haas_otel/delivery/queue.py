"""What waits on this machine, as all exporters of a process see it: read, indexed and removed once.

Exporters are sent to in a thread each, and none waits for another: what they share here is held
for no longer than it takes to read what is new, or to write a line.
"""

from __future__ import annotations

import logging
import threading
import time
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, NamedTuple

from haas_otel.delivery.exporters import asked_for
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.segments import Segments, recipients

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.segments import Item, Journal, Segment

    Batch = Sequence[tuple["Waiting", ReadableSpan]]

_logger = logging.getLogger(__name__)
_PRUNE_EVERY_SECONDS = 3600
_WARN_EVERY_SECONDS = 60


class Waiting(NamedTuple):
    """A span that waits for an exporter, in its segment."""

    item: Item
    segment: Segment

    @property
    def source(self) -> str:
        """Where it is, as the index knows it."""
        return f"{self.segment.path.name}:{self.item.offset}"

    def tried(self) -> Waiting:
        """Return it as it is when it was sent once more."""
        return self._replace(item=self.item._replace(tries=self.item.tries + 1))


class Warnings:
    """Warnings of a kind, each logged at most once a minute."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def warn(self, kind: str, text: str, *arguments: object, exc_info: bool = False) -> None:
        """Log a warning, unless one of this kind was logged a moment ago."""
        now = time.monotonic()
        if now - self._at.get(kind, float("-inf")) >= _WARN_EVERY_SECONDS:
            self._at[kind] = now
            _logger.warning(text, *arguments, exc_info=exc_info)


class Queue:
    """The spans of a directory that wait, for those exporters that are ``asked`` for.

    ``journal`` is what this process writes to; those ``at_work`` send from that. Safe for threads.
    """

    def __init__(self, journal: Journal, asked: tuple[str, ...], limits: Limits) -> None:
        self.journal, self.limits = journal, limits
        self._asked = asked
        self.at_work: set[object] = set()
        self._segments = Segments(journal, asked)
        self._lock = threading.Lock()  # of the segments
        self._index = Index(journal.directory)
        self._index_lock = threading.Lock()
        self._pruned_at = float("-inf")
        self._dropped: dict[str, int] = {}
        self._warnings = Warnings()

    def waiting(self, key: str, *, others: bool) -> list[Waiting]:
        """Return what waits for an exporter, oldest first; with ``others`` of dead processes, too.

        What was sent before comes last, by how often. What is beyond the limits is given up.
        """
        with self._lock:
            segments = self._there(self.journal.paths, others=others)
            found = [
                Waiting(item, segment)
                for segment in segments
                for _, item in sorted(segment.read().waiting.get(key, {}).items())
            ]
        excess = self._excess([each.item.length for each in found])
        if excess:
            self.settle(key, found[:excess])
            self._dropped[key] = self._dropped.get(key, 0) + excess
            text = "%d undelivered spans for %s dropped so far, oldest first"
            self._warnings.warn(f"dropped {key}", text, self._dropped[key], key)
        return sorted(found[excess:], key=lambda each: each.item.tries)

    def settle(self, key: str, entries: Sequence[Waiting], *, left: bool = False) -> None:
        """Note that spans are done for an exporter, or ``left`` for later. Never raises."""
        with self._lock:
            for segment, items in by_segment(entries):
                segment.settle(key, items, left=left)

    def without_copies(self, batch: Batch) -> Batch:
        """Leave out spans that another process has written, too, and that go out from there."""
        known = [each for each in batch if each[0].segment.path != self.journal.memory]
        try:
            with self._index_lock:
                self._index.read({entry.segment.path: None for entry, _ in known})
                copies = self._index.copies([(entry.source, span) for entry, span in known])
        except IndexUnusable as error:
            _logger.debug("a span may be sent twice: %s", error)
            return batch
        return [each for each in batch if each[0].source not in copies]

    def tidy(self, own: Collection[Path] | None = None, *, others: bool, urgent: bool) -> None:
        """Have segments in the index, and remove those of which all is sent."""
        own = self.journal.paths if own is None else own
        with self._lock:
            segments = self._there(own, others=others)
            if segments and segments[-1].path == self.journal.memory:
                memory = segments.pop()
                if self._asked and self._is_done(memory.read()):
                    self.journal.forget_memory()
        writing = self.journal.paths[-1:]
        try:
            with self._index_lock:
                # What is written now is read by whoever asks, and at the end: here it would only
                # take time from the thread that writes it.
                self._index.read(s.path for s in segments if urgent or s.path not in writing)
                known = self._index.segments()
                if segments and time.monotonic() - self._pruned_at > _PRUNE_EVERY_SECONDS:
                    self._pruned_at = time.monotonic()
                    self._index.prune(self.limits)
            with self._lock:
                for segment in segments:
                    read = known.get(segment.path.name, 0) >= segment.read().end
                    done = read and not segment.starts and segment.path not in writing
                    if done and self._is_done(segment):
                        self.journal.release(segment.path)
                        segment.path.unlink(missing_ok=True)
        except (OSError, IndexUnusable) as error:
            self._warnings.warn("index", "the trace store cannot be used: %s", error)

    def leave(self, sender: object) -> None:
        """Have somebody work no more; who leaves last gives this process's segments up."""
        self.at_work.discard(sender)
        if not self.at_work:
            own = self.journal.paths
            self.journal.close()
            self.tidy(own, others=False, urgent=True)
            self._index.close()

    def _there(self, own: Collection[Path], *, others: bool) -> list[Segment]:
        # What waits for an exporter that other processes ask for is theirs to send.
        asked = asked_for(self.journal.directory, self.limits.unasked_for)
        self._segments.elsewhere = asked.difference(self._asked)
        return self._segments.there(own, others=others)

    def _excess(self, sizes: list[int]) -> int:
        """Return how many of the oldest are beyond the limits."""
        latest_first = reversed(sizes[-self.limits.max_pending_spans :])
        kept = sum(together <= self.limits.max_bytes for together in accumulate(latest_first))
        return len(sizes) - kept

    def _is_done(self, segment: Segment) -> bool:
        """Say whether nobody is to get a span of a segment any more."""
        elsewhere = self._segments.elsewhere
        for names in segment.meant:
            meant = set(filter(None, names.split(",")))
            for key in meant - recipients(names, self._asked, elsewhere):
                text = "%s is asked for no more: what waits for it goes to others"
                self._warnings.warn(key, text, key)
        waiting = segment.waits_for()
        gone = waiting.difference(self._asked)
        since = time.time() - self.limits.unasked_for.total_seconds()
        if waiting != gone or gone & elsewhere or (gone and segment.path.stat().st_mtime > since):
            return False
        for key in gone:
            _logger.warning("%s is asked for no more: what waited for it is given up", key)
        return True


def by_segment(entries: Iterable[Waiting]) -> Iterator[tuple[Segment, list[Item]]]:
    """Yield what is in each segment; the entries of one stand together."""
    for segment, group in groupby(entries, key=lambda each: each.segment):
        yield segment, [each.item for each in group]
