r"""The queue: a folder of segments, in which each process writes its own, one line with one call.

No span waits for another process or for a disk: a line is in the kernel's hands when
`Journal.append` returns, and SIGKILL does not lose it. It is sent from its segment, by its process
or, when that is gone, by any other; how far an exporter has got is a line in the segment itself.

    !NAMES          the exporters that spans of this process go to
    >KEY\tJSON      a run has begun: its start record, or a newer one with the same key
    <KEY            it has ended; without a key, all have: a later segment has those that go on
    NAMES\tJSON     a span, and the exporters that it has to go to
    =NAME\tJSON     how far that exporter has got, see `Segment.settle`

A process holds a lock on its segments. The kernel gives it back when the process ends, in whatever
way: no pid that was given out again, no time-out to wait for. While it has runs, it stamps the last
one: the last stamp of a dead process is its last sign of life.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import struct
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

_logger = logging.getLogger(__name__)

_FOLDER, _SUFFIX = "journal", ".jsonl"
# A segment that is longer is followed by a new one, so that what is sent can be removed.
_SEGMENT_BYTES = 1024 * 1024
_MOST_IN_MEMORY = 2048
# Of a whole file (fcntl(2)). Unlike flock, the kernel tells of such a lock without taking it.
_LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class Journal:
    """The segments of this process in ``directory``. Safe for threads; see `forget_after_fork`.

    What the disk does not take goes into a segment in memory instead, up to 2048 lines.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # The exporters that spans go to; while it is None start records alone are written.
        self.names: bytes | None = None
        # ... and those that dead processes had, by the keys of runs that this one ends for them.
        self.names_of: dict[str, bytes] = {}
        self._dropped = 0
        self._warned = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Path, int] = {}  # the descriptors of the segments, the latest one last
        self.memory: Path | None = None  # the segment in memory
        self._memory = -1
        self._written = self._in_memory = 0
        self._starts: dict[str, bytes] = {}

    @property
    def running(self) -> bool:
        """Whether a run of this process goes on."""
        return bool(self._starts)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The segments on disk, of which the last one is written to."""
        return tuple(self._held)

    @property
    def _latest(self) -> int:
        return next(reversed(self._held.values()), -1)

    def send_to(self, names: Sequence[str]) -> None:
        """Have spans from now on go to these exporters. Never raises."""
        with self._lock:
            self.names = ",".join(names).encode()
            if self._held:
                self._write(b"!%b\n" % self.names)

    def start(self, key: str, record: bytes) -> None:
        """Keep the start record of a run, as JSON on one line. Never raises."""
        line = b">%b\t%b\n" % (key.encode(), record)
        with self._lock:
            self._write(line)
            self._starts[key] = line

    def end(self, key: str) -> None:
        """Note that a run has ended, unless its span has said so. Never raises."""
        with self._lock:
            if self._starts.pop(key, None) is not None:
                self._write(b"<%b\n" % key.encode())

    def append(self, text: bytes, key: str = "") -> None:
        """Keep a span, as JSON on one line; ``key`` is that of the run that ends. Never raises."""
        names = self.names_of.pop(key, self.names) if self.names_of else self.names
        line = b"%b\t%b\n" % (names or b"", text)
        with self._lock:
            ended = self._starts.pop(key, None) is not None
            if not self._write(b"%b<%b\n" % (line, key.encode()) if ended else line):
                self._keep_in_memory(line)

    def stamp(self) -> None:
        """Give a sign of life. Raises OSError."""
        with self._lock:
            if self._held:
                os.utime(self._latest)

    def restore(self) -> None:
        """Write anew what is in segments that somebody has removed. Never raises."""
        with self._lock, contextlib.suppress(OSError):
            for path, removed in [*self._held.items()]:
                if not path.exists():
                    size = os.fstat(removed).st_size
                    self._create(path, os.pread(removed, size, 0))
                    os.close(removed)

    def release(self, path: Path) -> None:
        """Let go of a segment that is removed."""
        with self._lock:
            if path in self._held:
                os.close(self._held.pop(path))

    def forget_memory(self) -> None:
        """Let go of the segment in memory, of which all is sent."""
        with self._lock:
            if self.memory is not None:
                # Not closed: its number would be the next one's, which is read from its beginning.
                os.ftruncate(self._memory, 0)
                self.memory, self._in_memory = None, 0

    def close(self) -> None:
        """Give the segments up: they are for whoever comes next."""
        with self._lock:
            if self.memory is not None:
                with contextlib.suppress(OSError):  # there may be room by now
                    size = os.fstat(self._memory).st_size
                    self._create(self._new_path(), os.pread(self._memory, size, 0))
                    self.memory = None
            while self._held:
                path, descriptor = self._held.popitem()
                if self.names is None and not self._starts:
                    path.unlink(missing_ok=True)
                os.close(descriptor)

    def forget_after_fork(self) -> None:
        """Start anew in a child process; what the parent wrote is the parent's to deliver."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._begin()

    def _write(self, line: bytes) -> bool:
        """Append a line to the segment on disk, and say whether all of it is there."""
        reason: object = "it is full"
        try:
            if not self._held or self._written >= _SEGMENT_BYTES:
                self._begin_segment()
            if os.write(self._latest, line) == len(line):
                self._written += len(line)
                return True
        except OSError as error:
            reason = error
        # The next one, when there is room, begins with the runs that go on, and ends all others.
        self._written = _SEGMENT_BYTES
        if not self._warned:
            self._warned = True
            _logger.warning("spans are kept in memory only: %s: %s", self.directory, reason)
        return False

    def _begin_segment(self) -> None:
        """Go on in a new segment, which begins with the runs that go on."""
        names = b"" if self.names is None else b"!%b\n" % self.names
        before, paths = self._latest, self.paths
        self._create(self._new_path(), b"".join((names, *self._starts.values())))
        self._written = 0
        if self.names is None:
            for each in paths:
                each.unlink(missing_ok=True)
                os.close(self._held.pop(each))
        elif paths:
            os.write(before, b"\n<\n")

    def _new_path(self) -> Path:
        name = f"{time.time_ns():016x}-{secrets.token_hex(6)}{_SUFFIX}"
        return self.directory / _FOLDER / name

    def _create(self, path: Path, content: bytes) -> None:
        """Make a segment and hold it. Raises OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Complete, and locked, before it has its name: nobody takes it for one of a dead process.
        draft = path.with_name(f".{path.name}")
        descriptor, held = -1, self._held
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK)
            if os.write(descriptor, content) < len(content):
                raise OSError(f"{path} cannot be begun")
            draft.rename(path)
            self._held = {**held, path: descriptor}
        except BaseException:  # a signal handler's, too, which may strike when a call has succeeded
            self._held = held
            if descriptor >= 0:
                os.close(descriptor)
            for each in (draft, path):
                with contextlib.suppress(OSError):
                    each.unlink()
            raise

    def _keep_in_memory(self, line: bytes) -> None:
        if self._in_memory >= _MOST_IN_MEMORY:
            self._dropped += 1
            if self._dropped & (self._dropped - 1) == 0:  # 1, 2, 4, 8 ...
                _logger.warning("%d spans dropped: no disk, no collector takes them", self._dropped)
            return
        if self.memory is None:
            self._memory = os.memfd_create("haas_otel")
            fcntl.fcntl(self._memory, fcntl.F_SETFL, os.O_APPEND)
            self.memory = Path(f"/proc/self/fd/{self._memory}")
        self._in_memory += 1
        os.write(self._memory, line)


class Item(NamedTuple):
    """A span that waits: where its line begins, how long that is, how often it was sent.

    ``refused`` says how often the fault seemed to be its own.
    """

    offset: int
    length: int
    tries: int = 0
    refused: int = 0


class Segment:
    """A segment as far as it was read, and what in it waits for which exporter.

    ``asked`` are the exporters that spans go to, ``elsewhere`` those that other processes ask for.
    For one thread at a time.
    """

    def __init__(
        self, path: Path, asked: tuple[str, ...] = (), elsewhere: frozenset[str] = frozenset()
    ) -> None:
        self.path = path
        self.starts: dict[str, bytes] = {}  # of runs that go on, JSON by key
        self.names: bytes | None = None  # where its process sends spans to
        self.waiting: dict[str, dict[int, Item]] = {}  # by exporter and offset
        self.meant: set[str] = set()  # the exporters of its spans, as they were written
        self.end = 0  # of what was read
        self._asked, self._elsewhere = asked, elsewhere
        self._done: dict[str, int] = {}  # up to where an exporter has got

    def read(self) -> Segment:
        """Take in the lines that are new."""
        for offset, line in read_lines(self.path, self.end):
            self.end = offset + len(line)
            head, tab, text = line[:-1].partition(b"\t")
            kind, name = head[:1], head[1:].decode("utf-8", "replace")
            if is_span(line):
                names = head.decode("utf-8", "replace") if tab else ""
                self.meant.add(names)
                item = Item(offset, len(line))
                for key in recipients(names, self._asked, self._elsewhere):
                    self.waiting.setdefault(key, {})[offset] = item
            elif kind == b">":
                self.starts[name] = text
            elif kind == b"<" and name:
                self.starts.pop(name, None)
            elif kind == b"<":
                self.starts.clear()
            elif kind == b"!":
                self.names = head[1:]
            elif kind == b"=":
                with contextlib.suppress(ValueError, TypeError):
                    self._read_progress(name, *orjson.loads(text))
        return self

    def _read_progress(self, key: str, position: int, left: list[list[int]]) -> None:
        counts = {offset: (tries, refused) for offset, tries, refused in left}
        self.waiting[key] = {
            offset: Item(offset, item.length, *counts.get(offset, ()))
            for offset, item in self.waiting.get(key, {}).items()
            if offset >= position or offset in counts
        }
        self._done[key] = position

    def waits_for(self) -> set[str]:
        """Return the exporters for which something waits."""
        return {key for key, items in self.waiting.items() if items}

    def texts(self, items: Iterable[Item]) -> Iterator[bytes]:
        """Yield the JSON of spans."""
        with self.path.open("rb") as file:
            for item in items:
                file.seek(item.offset)
                yield file.read(item.length).partition(b"\t")[2]

    def settle(self, key: str, items: Sequence[Item], *, left: bool = False) -> None:
        """Note that spans are done for an exporter, or ``left`` for later. Never raises."""
        done = max(self._done.get(key, 0), *(item.offset + item.length for item in items))
        waiting = self.waiting.setdefault(key, {})
        for item in items:
            waiting.pop(item.offset, None)
            if left:
                waiting[item.offset] = item
        before = [(each.offset, *each[2:]) for each in waiting.values() if each.offset < done]
        self._done[key] = done
        with contextlib.suppress(OSError):  # it is known here, as long as this process lives
            append(self.path, b"=%b\t%b" % (key.encode(), orjson.dumps([done, before])))


class Segments:
    """The segments beside this process's ``journal``, each remembered as far as it was read."""

    def __init__(self, journal: Journal, asked: tuple[str, ...] = ()) -> None:
        self._journal = journal
        self._asked = asked
        self.elsewhere: frozenset[str] = frozenset()
        self._known: dict[Path, Segment] = {}

    def there(self, own: Collection[Path] | None = None, *, others: bool = False) -> list[Segment]:
        """Return those that are there, oldest first, the one in memory last.

        With ``own`` those of a process, and with ``others`` those of dead ones, too.
        """
        found = paths_in(self._journal.directory)
        paths = [path for path in found if path.is_file() and os.access(path, os.R_OK)]
        if memory := self._journal.memory:
            paths.append(memory)
        known = self._known
        given = self._asked, self.elsewhere
        self._known = {path: known.get(path) or Segment(path, *given) for path in paths}
        return [
            segment
            for path, segment in self._known.items()
            if own is None or path in (*own, memory) or (others and not is_alive(path))
        ]


def paths_in(directory: Path) -> list[Path]:
    """Return the segments of all processes, oldest first: their names begin with the time.

    One whose name begins with a dot is still being made.
    """
    with contextlib.suppress(OSError):  # the folder is another user's
        return sorted((directory / _FOLDER).glob(f"[!.]*{_SUFFIX}"))
    return []


def is_alive(path: Path) -> bool:
    """Say whether the process that has begun a segment still lives."""
    with contextlib.suppress(FileNotFoundError), _opened(path, os.O_RDONLY) as descriptor:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _LOCK)
        return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)
    return False


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a claim on a file, and say whether it could be had."""
    descriptor, mine = -1, False
    with contextlib.suppress(OSError):  # it is gone, another one's, or on a disk without locks
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    try:
        yield mine
    finally:
        if mine:  # to close the file is not enough: a child forked meanwhile has it, too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        if descriptor >= 0:
            os.close(descriptor)


def read_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines from ``start`` with their offsets, as far as they are written now."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield start, line
            start += len(line)


def is_span(line: bytes) -> bool:
    """Say whether a line is that of a span."""
    return line[0] not in b"!><=\n\0"


def append(path: Path, line: bytes) -> None:
    """Append a line to a segment that anybody may be writing to. Raises OSError.

    The time of its last change stays: that is the last sign of life of its process.
    """
    with _opened(path, os.O_WRONLY | os.O_APPEND) as descriptor:
        moment = os.fstat(descriptor).st_mtime_ns
        # What was being written when a process died, or when the disk was full, ends here.
        if os.write(descriptor, b"\n%b\n" % line) < len(line) + 2:
            raise OSError(f"{path}: no space left")
        os.utime(descriptor, ns=(moment, moment))


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def kind_of(key: str) -> str:
    """Return what an exporter takes: spans, or what is made of them, metrics or events."""
    kind = key.partition("-")[0]
    return kind if kind in ("metrics", "events") else "spans"


@lru_cache(maxsize=256)
def recipients(
    names: str, asked: tuple[str, ...], elsewhere: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Return which exporters get a span that was meant for those of these names, with commas.

    In place of a kind (spans; metrics, or events made of them) of which none is asked for, here or
    ``elsewhere``, all others of it that are asked for here.
    """
    result = set(filter(None, names.split(",")))
    for kind in ("spans", "metrics", "events"):
        meant = {key for key in result if kind_of(key) == kind}
        instead = {key for key in asked if kind_of(key) == kind}
        if meant and instead and not meant & (instead | elsewhere):
            result = (result - meant) | instead
    return frozenset(result)
