r"""What keeps a run and its span from dying with their process: lines in a file, one call each.

Every process appends to a file of its own, so that no span waits for a lock, for another process or
for a disk. A line is in the kernel's hands when `Journal.append` returns: SIGKILL does not lose it.
A thread moves the spans to the outbox; the files of processes that are gone are moved by any other.

    >KEY\tJSON      a run has begun: its start record, or a newer one with the same key
    <KEY            it has ended
    NAMES\tJSON     a span, and the exporters that it has to go to
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haas_otel.delivery.owner import FOLDER, Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_logger = logging.getLogger(__name__)

_SUFFIX = ".jsonl"
_READ_BYTES = 4 * 1024 * 1024
# Above this a file whose lines have all been moved makes room for a new one.
_ROTATE_BYTES = 1024 * 1024
# Reached only when neither the outbox nor the collector takes anything for a long time.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_IN_MEMORY = 2048


@dataclass(frozen=True)
class Lines:
    """Lines that were read and are to be forgotten once they are safe elsewhere."""

    texts: tuple[str, ...]
    path: Path | None = None
    end: int = 0
    from_memory: int = 0


class Journal:
    """The journal of this process in ``directory``. Safe for threads; see `forget_after_fork`.

    When the disk does not take a line, it is kept in memory instead: at most 2048 lines, the oldest
    dropped first. With ``spans`` False it is for start records alone, which nobody moves.
    """

    def __init__(self, directory: Path, *, spans: bool = True) -> None:
        self._directory = directory
        self.spans = spans
        self._lock = threading.Lock()
        self._owner: Owner | None = None
        self._path: Path | None = None
        self._descriptor = -1
        self._count = 0
        self._start = 0
        self._torn = False
        self._full = False
        self._memory: deque[str] = deque()
        self._dropped = 0
        self._warned = False
        self._starts: dict[str, bytes] = {}
        # Of runs of dead processes that this one ends: the exporters that those had chosen.
        self.exporters: dict[str, tuple[str, ...]] = {}

    @property
    def running(self) -> bool:
        """Whether a run of this process goes on."""
        return bool(self._starts)

    @property
    def owner_id(self) -> str:
        """The id that this process's leases and files carry; raises OSError without a disk."""
        with self._lock:
            return self._own().id

    @property
    def empty(self) -> bool:
        """Whether every span has been forgotten."""
        with self._lock:
            return self._size() == self._start and not self._memory

    @property
    def all_on_disk(self) -> bool:
        """Whether no line is held in memory alone."""
        return not self._memory

    def start(self, key: str, record: bytes) -> None:
        """Keep the start record of a run, as JSON on one line. Never raises."""
        with self._lock:
            line = b">%b\t%b\n" % (key.encode(), record)
            try:
                if self._write(line):
                    self._starts[key] = line
            except OSError as error:
                self._warn(error)

    def end(self, key: str) -> None:
        """Note that a run has ended, unless its span has said so. Never raises."""
        with self._lock:
            if self._starts.pop(key, None) is not None:
                try:
                    self._write(b"<%b\n" % key.encode())
                    if not self.spans and self._path and self._size() >= _ROTATE_BYTES:
                        self._rotate(self._path)
                except OSError as error:
                    self._warn(error)

    def append(self, line: bytes, key: str = "") -> None:
        """Keep one line of UTF-8, which must hold no line end. Never raises.

        ``key`` is that of the run that ends with this line.
        """
        with self._lock:
            text = line + b"\n"
            if self._starts.pop(key, None) is not None:
                text += b"<%b\n" % key.encode()
            try:
                written = self._write(text)
            except OSError as error:
                self._keep_in_memory(line, error)
                return
            if not written:
                self._keep_in_memory(line, None)

    def stamp(self) -> None:
        """Give a sign of life. Raises OSError without a disk."""
        with self._lock:
            self._own().stamp()

    def note(self, content: bytes) -> None:
        """Let other processes read something of this one. Raises OSError without a disk."""
        with self._lock:
            self._own().note(content)

    def read(self) -> Lines:
        """Return lines that are not forgotten yet, some megabytes at most.

        Raises OSError when the file cannot be read.
        """
        with self._lock:
            path, start, size = self._path, self._start, self._size()
            memory = tuple(self._memory)
            self._full = size - start > _MOST_BYTES
        if path is None or start == size:
            return Lines(memory, from_memory=len(memory))
        texts, end = read_lines(path, start, size)
        return Lines((*filter(is_span, texts), *memory), path, end, len(memory))

    def forget(self, lines: Lines) -> None:
        """Let go of lines that are safe elsewhere."""
        with self._lock:
            for _ in range(min(lines.from_memory, len(self._memory))):
                self._memory.popleft()
            if lines.path is None or lines.path != self._path:
                return
            self._start = lines.end
            self._full = False
            if self._start == self._size() >= _ROTATE_BYTES:
                self._rotate(self._path)

    def close(self) -> None:
        """Remove the file if all its lines are forgotten, else leave it to other processes."""
        with self._lock:
            left: object = False
            if self._path is not None:
                if left := self._starts or (self.spans and self._start < self._size()):
                    self._abandon()
                else:
                    self._path.unlink(missing_ok=True)
                    self._abandon()
            if self._owner is not None:
                self._owner.resign(remove=not left)
                self._owner = None

    def forget_after_fork(self) -> None:
        """Start anew in a child process; what the parent wrote is the parent's to deliver."""
        self._lock = threading.Lock()
        if self._owner is not None:
            self._owner.forget_after_fork()
            self._owner = None
        self._abandon()
        self._memory.clear()
        self._starts = {}
        self._torn = False

    def _write(self, line: bytes) -> bool:
        """Append a line and say whether it is on disk; raises OSError."""
        if self._path is None:
            self._open()
        if self._full:
            return False
        if self._torn:
            # The bytes that were written of a line before end here, as a line that is not one.
            line = b"\n" + line
        self._torn = os.write(self._descriptor, line) < len(line)
        return not self._torn

    def _size(self) -> int:
        # Asked of the file, not counted: an exception from a signal handler may strike after a
        # write and before the count.
        return 0 if self._path is None else os.fstat(self._descriptor).st_size

    def _own(self) -> Owner:
        if self._owner is None:
            self._owner = Owner(self._directory)
        return self._owner

    def _open(self) -> None:
        owner = self._own()
        self._count += 1
        path = self._directory / FOLDER / f"{owner.id}-{self._count}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._path, self._start, self._torn, self._full = path, 0, False, False

    def _rotate(self, path: Path) -> None:
        """Go on in a new file, which begins with the runs that go on."""
        self._abandon()
        starts = b"".join(self._starts.values())
        try:
            if starts:
                self._write(starts)
                self._start = self._size()
        except OSError as error:
            self._warn(error)
        else:
            path.unlink(missing_ok=True)

    def _abandon(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)
        self._path, self._descriptor, self._start = None, -1, 0

    def _keep_in_memory(self, line: bytes, error: OSError | None) -> None:
        self._memory.append(line.decode())
        if len(self._memory) > _MOST_IN_MEMORY:
            self._memory.popleft()
            self._dropped += 1
            if self._dropped & (self._dropped - 1) == 0:  # 1, 2, 4, 8 ...
                _logger.warning("%d spans dropped: no disk, no collector takes them", self._dropped)
        self._warn(error)

    def _warn(self, error: OSError | None) -> None:
        if not self._warned:
            self._warned = True
            reason = error or "the file is full"
            _logger.warning("spans are kept in memory only: %s: %s", self._directory, reason)


def segments(directory: Path, owner_id: str) -> list[Path]:
    """Return the files of a process, oldest first."""
    found = (directory / FOLDER).glob(f"{owner_id}-*{_SUFFIX}")
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def read_all(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield all whole lines of a file that is written no more, some megabytes at a time."""
    size = path.stat().st_size
    start = 0
    while start < size:
        texts, end = read_lines(path, start, size)
        if end == start:
            return
        yield texts
        start = end


def is_span(line: str) -> bool:
    """Say whether a line is that of a span."""
    return not line.startswith((">", "<"))


def still_open(lines: Iterable[str], starts: dict[str, str]) -> None:
    """Bring up to date what of some runs began and has not ended, as JSON by key."""
    for line in lines:
        if line.startswith(">"):
            key, _, record = line[1:].partition("\t")
            starts[key] = record
        elif line.startswith("<"):
            starts.pop(line[1:], None)


def put_aside(path: Path) -> Path:
    """Rename a file that cannot be read, so that it is kept and met no more."""
    target = path.with_name(f"{path.name}.corrupt")
    path.rename(target)
    return target


def read_lines(path: Path, start: int, size: int) -> tuple[tuple[str, ...], int]:
    """Return the whole lines from ``start`` and where the last of them ends."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(min(size - start, _READ_BYTES))
        end = data.rfind(b"\n") + 1
        if end == 0 and start + len(data) < size:
            data += file.readline()
            end = len(data)
    lines = data[:end].decode("utf-8", "replace").split("\n")
    return tuple(line for line in lines if line), start + end
