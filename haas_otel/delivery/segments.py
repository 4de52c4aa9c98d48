"""What waits to be sent: segments, and how far each exporter has got in each of them.

A process sends its own segments and those of processes that are gone. How far an exporter has got
is a line in the segment itself: so it is there for whoever goes on with it, and exporters do not
wait for each other.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import orjson

from haas_otel.delivery.journal import FOLDER, SUFFIX, is_alive, lock_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from haas_otel.delivery.journal import Journal

_NO_SPAN = b"><=\n\0"


class Item(NamedTuple):
    """A span that waits: where its line begins, how long that is, how often it was sent.

    ``refused`` says how often the fault seemed to be its own.
    """

    offset: int
    length: int
    tries: int = 0
    refused: int = 0

    @property
    def end(self) -> int:
        """Where the next line begins."""
        return self.offset + self.length


class Segment:
    """A segment as far as it was read, and what in it waits for the exporter ``key``.

    ``asked`` are all exporters that spans go to. For one thread.
    """

    def __init__(self, path: Path, key: str = "", asked: tuple[str, ...] = ()) -> None:
        self.path = path
        self.starts: dict[str, str] = {}  # of runs that go on, JSON by key
        self.waiting: dict[int, Item] = {}  # by offset
        self.end = 0  # of what was read
        self._key = key
        self._asked = asked
        # Where the last span for these exporters begins; up to where an exporter has got, and
        # whether something was left before that.
        self._last: dict[str, int] = {}
        self._progress: dict[str, tuple[int, bool]] = {}
        self._saved = True

    @property
    def size(self) -> int:
        """The bytes that it has now."""
        with suppress(FileNotFoundError):
            return self.path.stat().st_size
        return 0

    @property
    def age(self) -> float:
        """The seconds since its process wrote to it. Raises OSError when it is gone."""
        return time.time() - self.path.stat().st_mtime

    @property
    def names(self) -> Iterable[str]:
        """The lists of exporters that its spans name, with commas."""
        return self._last

    def read(self) -> Segment:
        """Take in the lines that are new."""
        for offset, line in read_lines(self.path, self.end):
            self.end = offset + len(line)
            head, tab, text = line[:-1].partition(b"\t")
            names = head.decode("utf-8", "replace")
            if is_span(line):
                if tab and names:  # else it is for nobody
                    self._last[names] = offset
                    if self._key in recipients(names, self._asked):
                        self.waiting[offset] = Item(offset, len(line))
            elif line[:1] == b">":
                self.starts[names[1:]] = text.decode("utf-8", "replace")
            elif line[:1] == b"<":
                self.starts.pop(names[1:], None)
            elif line[:1] == b"=":
                with suppress(ValueError, TypeError):
                    self._read_progress(names[1:], *orjson.loads(text))
        return self

    def _read_progress(self, key: str, position: int, left: list[list[int]]) -> None:
        if key != self._key:
            self._progress[key] = (position, bool(left))
        elif self._saved:
            self._progress[key] = (position, bool(left))
            counts = {offset: (tries, refused) for offset, tries, refused in left}
            for offset in [each for each in self.waiting if each < position]:
                item = self.waiting.pop(offset)
                if offset in counts:
                    self.waiting[offset] = Item(offset, item.length, *counts[offset])

    def waits_for(self, key: str) -> bool:
        """Say whether some of it waits for an exporter, whichever that is."""
        position, left = self._progress.get(key, (0, False))
        return left or any(
            last >= position and key in recipients(names, self._asked)
            for names, last in self._last.items()
        )

    def texts(self, items: Iterable[Item]) -> Iterator[str]:
        """Yield the JSON of spans."""
        with self.path.open("rb") as file:
            for item in items:
                file.seek(item.offset)
                yield file.read(item.length).partition(b"\t")[2].decode("utf-8", "replace")

    def settle(self, items: Sequence[Item], *, left: bool = False) -> None:
        """Note that spans are done, or ``left`` for later. Never raises."""
        position, _ = self._progress.get(self._key, (0, False))
        position = max(position, *(item.end for item in items))
        for item in items:
            self.waiting.pop(item.offset, None)
            if left:
                self.waiting[item.offset] = item
        before = [
            (item.offset, item.tries, item.refused)
            for item in self.waiting.values()
            if item.offset < position
        ]
        self._progress[self._key] = (position, bool(before))
        line = b"=%b\t%b" % (self._key.encode(), orjson.dumps([position, before]))
        self._saved = True
        try:
            append(self.path, line)
        except OSError:  # it is known here, as long as this process lives
            self._saved = False


class Segments:
    """The segments in ``directory``, each remembered as far as it was read; see `Segment`.

    ``journal`` is this process's.
    """

    def __init__(
        self, directory: Path, journal: Journal, key: str = "", asked: tuple[str, ...] = ()
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._key = key
        self._asked = asked
        self._known: dict[Path, Segment] = {}
        self._owners: dict[str, list[Segment]] = {}

    def by_owner(self) -> dict[str, list[Segment]]:
        """Return the segments of each process that has left or holds something here, oldest first.

        A process is there by its lock file, too.
        """
        known, self._known, self._owners = self._known, {}, {}
        if (memory := self._journal.memory) is not None:
            self._known[memory] = known.get(memory) or Segment(memory, self._key, self._asked)
        # Their names begin with the time.
        for path in sorted((self._directory / FOLDER).glob("[!.]*")):
            is_segment = path.suffix == SUFFIX
            owner_id = path.stem.rpartition("-")[0] if is_segment else path.stem
            segments = self._owners.setdefault(owner_id, [])
            if is_segment and path.is_file() and os.access(path, os.R_OK):
                self._known[path] = known.get(path) or Segment(path, self._key, self._asked)
                segments.append(self._known[path])
        return self._owners

    def to_send(self, own: str | None, *, others: bool) -> list[Segment]:
        """Return a process's own segments, and with ``others`` those of dead ones, oldest first.

        Listed before they are looked at: a process that begins now is not taken for dead.
        """
        found = []
        for owner_id, segments in self.by_owner().items():
            if owner_id == own or (others and not is_alive(self._directory, owner_id)):
                found += segments
                self._remove_lock(owner_id)
        return [*found, self.memory] if self.memory is not None else found

    @property
    def memory(self) -> Segment | None:
        """The segment in memory, where there is one."""
        path = self._journal.memory
        return self._known.get(path) if path else None

    def remove(self, segment: Segment) -> None:
        """Remove one that is done with, unless runs go on: the last one has their start records."""
        for owner_id, segments in self._owners.items():
            going_on = segments[-1:] == [segment] and open_records(segments)
            if segment in segments and not going_on:
                segments.remove(segment)
                segment.path.unlink(missing_ok=True)
                self._remove_lock(owner_id)

    def _remove_lock(self, owner_id: str) -> None:
        if not self._owners[owner_id] and owner_id != self._journal.begun:
            lock_of(self._directory, owner_id).unlink(missing_ok=True)


def read_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines from ``start`` with their offsets, as far as they are written now."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield start, line
            start += len(line)


def is_span(line: bytes) -> bool:
    """Say whether a line is that of a span."""
    return line[0] not in _NO_SPAN


def append(path: Path, line: bytes) -> None:
    """Append a line to a segment that anybody may be writing to. Raises OSError.

    The time of its last change stays: that is the last sign of life of its process.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        moment = os.fstat(descriptor).st_mtime_ns
        # What was being written when a process died, or when the disk was full, ends here.
        if os.write(descriptor, b"\n%b\n" % line) < len(line) + 2:
            raise OSError(f"{path}: no space left")
        os.utime(descriptor, ns=(moment, moment))
    finally:
        os.close(descriptor)


def open_records(segments: Sequence[Segment]) -> dict[str, str]:
    """Return the open start records of a process until now, as JSON by key.

    Its last segment has them all: each begins with the runs that went on.
    """
    return segments[-1].read().starts if segments else {}


def last_sign(directory: Path, owner_id: str, segments: Iterable[Segment]) -> int:
    """Return when a process gave its last sign of life, in ns since the epoch."""
    moments = [0]
    for path in (lock_of(directory, owner_id), *(segment.path for segment in segments)):
        with suppress(FileNotFoundError):
            moments.append(path.stat().st_mtime_ns)
    return max(moments)


def close_records(segments: Sequence[Segment], keys: Collection[str]) -> None:
    """Note that runs of a dead process have ended; with the claim on it held."""
    append(segments[-1].path, b"\n".join(b"<%b" % key.encode() for key in keys))


@lru_cache(maxsize=256)
def recipients(names: str, asked: tuple[str, ...]) -> frozenset[str]:
    """Return which exporters get a span that was meant for those of these names, with commas.

    In place of a kind (spans, or metrics made of them) of which none is asked for, all others of it
    that are.
    """
    result = set(filter(None, names.split(",")))
    for metrics in (False, True):
        meant = {key for key in result if key.startswith("metrics") is metrics}
        instead = {key for key in asked if key.startswith("metrics") is metrics}
        if meant and instead and not meant & instead:
            result = (result - meant) | instead
    return frozenset(result)
