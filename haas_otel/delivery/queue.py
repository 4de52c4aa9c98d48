"""What waits to be sent: segments, and how far each exporter has got in each of them.

A process sends its own segments and those of processes that are gone. Beside a segment lies one
small file for each exporter: whoever holds the lock on it is the one who sends that segment to that
exporter, and it holds the position up to which spans are sent, and those before it that are left
for later. So exporters do not wait for each other, and nobody waits for a process that hangs.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from haas_otel.delivery.journal import SUFFIX
from haas_otel.delivery.owner import FOLDER, claimed, is_alive, lock_of, owners

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from haas_otel.delivery.index import Index
    from haas_otel.delivery.journal import Journal
    from haas_otel.delivery.limits import Limits

_READ_BYTES = 4 * 1024 * 1024
_SMALLEST_SPAN = 200  # bytes of a line: less is not worth to be counted
_STATE_SUFFIX = ".sent"


@dataclass(frozen=True)
class Item:
    """A span that waits: where its line begins and ends, its JSON, how often it was tried."""

    offset: int
    end: int
    body: str
    tries: int = 0


@dataclass
class Progress:
    """How far an exporter has got in a segment; see `Queue.claim`."""

    position: int = 0
    left: dict[int, int] = field(default_factory=dict)  # tries by offset


class Queue:
    """The segments in ``directory``, for the exporters that are ``asked`` for.

    ``journal`` is this process's. What waits for exporters that nobody asks for any more goes to
    those of its kind that somebody does.
    """

    def __init__(
        self, directory: Path, journal: Journal, limits: Limits, asked: Sequence[str]
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._limits = limits
        self._asked = tuple(asked)
        self._unsaved: dict[Path, Progress] = {}
        self._held: set[int] = set()
        self._counted = 0
        self.replaced: set[str] = set()

    def segments(self, *, others: bool) -> list[tuple[str, Path]]:
        """Return this process's segments, and those of dead ones, with their owner, oldest first.

        May be called by several threads. Listed before they are looked at: a process that begins
        now is not taken for dead.
        """
        own = self._journal.begun
        found = owners(self._directory) if others else [own] if own else []
        return [
            (owner_id, path)
            for owner_id in found
            if owner_id == own or not is_alive(self._directory, owner_id)
            for path in segments(self._directory, owner_id)
        ]

    @contextmanager
    def claim(self, owner_id: str, path: Path, key: str) -> Iterator[Progress | None]:
        """Be the only one to send a segment to an exporter; None where somebody else is.

        What is changed of the progress is kept with `save`.
        """
        mine = owner_id == self._journal.begun
        state = _state_path(path, key)
        try:
            descriptor = os.open(state, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            # No disk: nobody else can send it either.
            yield self._unsaved.setdefault(state, Progress()) if mine else None
            return
        self._held.add(descriptor)
        try:
            yield self._claimed(descriptor, path, state) if _lock(descriptor) else None
        finally:
            self._held.discard(descriptor)
            os.close(descriptor)

    def _claimed(self, descriptor: int, path: Path, state: Path) -> Progress | None:
        if not path.exists():  # sent, and removed, before the lock was ours
            state.unlink(missing_ok=True)
            return None
        progress = _read_progress(descriptor)
        unsaved = self._unsaved.get(state, progress)
        return unsaved if unsaved.position > progress.position else progress

    def save(self, path: Path, key: str, progress: Progress) -> None:
        """Keep how far a claimed segment is sent. Never raises."""
        state = _state_path(path, key)
        try:
            descriptor = os.open(state, os.O_RDWR | os.O_CLOEXEC)
            try:
                text = json.dumps([progress.position, list(progress.left.items())]).encode()
                # In one call: a process that is killed here leaves the old text or the new one.
                os.pwrite(descriptor, text.ljust(os.fstat(descriptor).st_size), 0)
            finally:
                os.close(descriptor)
            self._unsaved.pop(state, None)
        except OSError:
            self._unsaved[state] = progress

    def take(self, path: Path, key: str, progress: Progress) -> tuple[list[Item], int]:
        """Return the next spans of a segment for an exporter, and where what follows them begins.

        As many as go into one request by their number and by their bytes.
        """
        items: list[Item] = []
        position, room = progress.position, self._limits.request_bytes
        for offset, line in read_lines(path, position):
            body = self._body(line, key)
            if body is not None:
                room -= len(line)
                if items and room < 0:
                    break
                items.append(Item(offset, offset + len(line), body))
            position = offset + len(line)
            if len(items) >= self._limits.batch:
                break
        return items, position

    def take_left(self, path: Path, key: str, left: dict[int, int], tries: int) -> list[Item]:
        """Return some of the spans that were left after so many tries.

        Of those that a collector did not take together only half: at last one is alone.
        """
        items: list[Item] = []
        room = self._limits.request_bytes
        group = [offset for offset, count in left.items() if count == tries]
        most = min(self._limits.batch, max(1, len(group) // 2) if tries else len(group))
        with path.open("rb") as file:
            for offset in group[:most]:
                file.seek(offset)
                line = file.readline()
                room -= len(line)
                if items and room < 0:
                    break
                items.append(Item(offset, offset + len(line), self._body(line, key) or "", tries))
        return items

    def _body(self, line: bytes, key: str) -> str | None:
        """Return the JSON of a line that is a span for this exporter."""
        names, tab, body = line.rstrip(b"\n").partition(b"\t")
        if not tab or not names or names[0] in b"<>":
            return None
        if key in _readers(names.decode("utf-8", "replace").split(","), self._asked):
            return body.decode("utf-8", "replace")
        return None

    def clean(self, index: Index, *, only: str | None = None) -> None:
        """Remove segments of which all is sent and in the index; of all processes that are gone.

        ``only`` is the one process that is looked at. What only exporters wait for that nobody has
        asked for in a day is given up. Raises OSError.
        """
        known = index.segments()
        own = self._journal.begun
        for owner_id in [only] if only else owners(self._directory):
            if owner_id == own:
                for path in segments(self._directory, owner_id):
                    if path != self._journal.current and self._is_done(path, known):
                        self._remove(path)
            elif not is_alive(self._directory, owner_id):
                with claimed(self._directory, owner_id) as mine:
                    if mine:
                        self._clean_dead(owner_id, known)

    def _clean_dead(self, owner_id: str, known: dict[str, tuple[int, str]]) -> None:
        paths = segments(self._directory, owner_id)
        going = bool(open_records(self._directory, owner_id))
        for path in paths:
            # The last one holds the start records of all that went on.
            if self._is_done(path, known) and not (going and path == paths[-1]):
                self._remove(path)
        if not segments(self._directory, owner_id):
            lock_of(self._directory, owner_id).unlink(missing_ok=True)

    def _is_done(self, path: Path, known: dict[str, tuple[int, str]]) -> bool:
        position, names = known.get(path.name, (0, ""))
        if not _at_end(path, position):
            return False
        given = names.split(",") if names else []
        readers = _readers(given, self._asked)
        self.replaced |= {name for name in given if readers and name not in readers}
        if not given:
            return True
        if not readers or {_kind(each) for each in given} - {_kind(each) for each in readers}:
            age = time.time() - path.stat().st_mtime
            return age > self._limits.unasked_for.total_seconds()
        return all(self._is_sent(path, key) for key in readers)

    def _is_sent(self, path: Path, key: str) -> bool:
        progress = self._progress(path, key)
        return not progress.left and _at_end(path, progress.position)

    def _progress(self, path: Path, key: str) -> Progress:
        state = _state_path(path, key)
        with suppress(OSError):
            descriptor = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return self._unsaved.get(state) or _read_progress(descriptor)
            finally:
                os.close(descriptor)
        return self._unsaved.get(state) or Progress()

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        for state in path.parent.glob(f"{path.stem}.*{_STATE_SUFFIX}"):
            state.unlink(missing_ok=True)
            self._unsaved.pop(state, None)

    def drop_excess(self) -> int:
        """Give up the oldest spans beyond the limits, and return how many those are."""
        found = self.segments(others=True)
        size = sum(_size(path) for _, path in found)
        few = size < self._limits.max_pending_spans * _SMALLEST_SPAN
        if size == self._counted or (few and size < self._limits.max_bytes):
            return 0
        self._counted = size
        count = total = dropped = 0
        for _, path in found:
            # What is sent is kept for the index, but not for ever.
            if size > 2 * self._limits.max_bytes and path != self._journal.current:
                size -= _size(path)
                self._remove(path)
        if not self._asked:
            return 0
        for owner_id, path in reversed(found):
            each = [self._progress(path, key) for key in self._asked]
            start = min(
                offset for progress in each for offset in (progress.position, *progress.left)
            )
            lines = [
                (offset, line)
                for offset, line in read_lines(path, start)
                if is_span(line) and any(p.position <= offset or offset in p.left for p in each)
            ]
            kept_from = 0
            for number, (offset, line) in enumerate(reversed(lines)):
                count, total = count + 1, total + len(line)
                if count > self._limits.max_pending_spans or total > self._limits.max_bytes:
                    kept_from = offset + len(line)
                    dropped += len(lines) - number
                    break
            if kept_from:
                for key in self._asked:
                    self._skip(owner_id, path, key, kept_from)
        return dropped

    def _skip(self, owner_id: str, path: Path, key: str, position: int) -> None:
        with self.claim(owner_id, path, key) as progress:
            if progress is not None and progress.position < position:
                progress.position = position
                progress.left = {k: v for k, v in progress.left.items() if k >= position}
                self.save(path, key, progress)

    def forget_after_fork(self) -> None:
        """Close a child's copies of the locks that its parent holds."""
        held, self._held = self._held, set()
        for descriptor in held:
            os.close(descriptor)


def segments(directory: Path, owner_id: str) -> list[Path]:
    """Return the segments of a process, oldest first."""
    folder = directory / FOLDER
    found = sorted(
        folder.glob(f"{owner_id}-*{SUFFIX}"), key=lambda path: int(path.stem.rpartition("-")[2])
    )
    before = folder / f"{owner_id}.open"  # start records that a version before has left
    return [path for path in (before, *found) if path.is_file() and os.access(path, os.R_OK)]


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
    return line[:1] not in (b">", b"<", b"\n", b"\0", b"")


def open_records(directory: Path, owner_id: str) -> dict[str, str]:
    """Return the open start records of a process until now, as JSON by key."""
    starts: dict[str, str] = {}
    for path in segments(directory, owner_id):
        begun, ended = _marks(path, _size(path))
        starts = {key: record for key, record in starts.items() if key not in ended} | begun
    return starts


@lru_cache(maxsize=512)
def _marks(path: Path, size: int) -> tuple[dict[str, str], frozenset[str]]:  # noqa: ARG001 - as a key
    """Return the runs that begin in a segment and go on behind it, and all that end in it."""
    begun: dict[str, str] = {}
    ended = set()
    for _, line in read_lines(path, 0):
        if line[:1] in b"><":
            key, _, record = line[1:-1].decode("utf-8", "replace").partition("\t")
            begun.pop(key, None)
            if line[:1] == b">":
                begun[key] = record
            else:
                ended.add(key)
    return begun, frozenset(ended)


def last_sign(directory: Path, owner_id: str) -> int:
    """Return when a process gave its last sign of life, in ns since the epoch."""
    moments = [0]
    for path in (lock_of(directory, owner_id), *segments(directory, owner_id)):
        with suppress(FileNotFoundError):
            moments.append(path.stat().st_mtime_ns)
    return max(moments)


def close_records(directory: Path, owner_id: str, keys: Collection[str]) -> None:
    """Note that runs of a dead process have ended; with the claim on it held."""
    for path in segments(directory, owner_id)[-1:]:
        moment = path.stat().st_mtime_ns
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            # What the process was writing when it died ends here.
            file.write(b"\n" + b"".join(b"<%b\n" % key.encode() for key in keys))
        os.utime(path, ns=(moment, moment))  # its last sign of life stays what it was


def _readers(names: Sequence[str], asked: Sequence[str]) -> set[str]:
    """Return which of the exporters asked for get a span that was meant for some exporters.

    Where none of its kind (spans, or metrics made of them) is asked for, all others of it are.
    """
    readers = {name for name in names if name in asked}
    lacking = {_kind(name) for name in names} - {_kind(name) for name in readers}
    return readers | {key for key in asked if _kind(key) in lacking}


def _kind(key: str) -> bool:
    return key.startswith("metrics")


def _state_path(path: Path, key: str) -> Path:
    return path.with_name(f"{path.stem}.{quote(key, safe='')}{_STATE_SUFFIX}")


def _read_progress(descriptor: int) -> Progress:
    try:
        position, left = json.loads(os.pread(descriptor, _READ_BYTES, 0))
        return Progress(int(position), {int(offset): int(tries) for offset, tries in left})
    except (ValueError, TypeError):
        return Progress()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _at_end(path: Path, position: int) -> bool:
    """Say whether no whole line follows a position."""
    return position >= _size(path) or next(read_lines(path, position), None) is None
