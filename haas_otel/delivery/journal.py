r"""What keeps a run and its span from dying with their process: lines in a file, one call each.

Every process appends to segments of its own, so that no span waits for a lock, for another process
or for a disk. A line is in the kernel's hands when `Journal.append` returns: SIGKILL does not lose
it. What is in a segment is sent from there, by its process or, when that is gone, by any other.

    >KEY\tJSON      a run has begun: its start record, or a newer one with the same key
    <KEY            it has ended
    NAMES\tJSON     a span, and the exporters that it has to go to
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from haas_otel.delivery.owner import FOLDER, Owner

if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"
# A segment that is longer is followed by a new one, so that what is sent can be removed.
_SEGMENT_BYTES = 1024 * 1024
_MOST_IN_MEMORY = 2048


class Journal:
    """The segments of this process in ``directory``. Safe for threads; see `forget_after_fork`.

    When the disk does not take a line, it is kept in memory instead: at most 2048 lines, the oldest
    dropped first. With ``spans`` False it is for start records alone, which nobody sends.
    """

    def __init__(self, directory: Path, *, spans: bool = True) -> None:
        self._directory = directory
        self.spans = spans
        self._lock = threading.Lock()
        self._owner: Owner | None = None
        self._path: Path | None = None
        self._descriptor = -1
        self._count = 0
        self._written = 0
        self._torn = False
        self._memory: dict[int, bytes] = {}
        self._next = 0
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
        """The id that this process's files carry; raises OSError without a disk."""
        with self._lock:
            return self._own().id

    @property
    def begun(self) -> str | None:
        """The id that this process's files carry, None when there are none."""
        return self._owner.id if self._owner else None

    @property
    def current(self) -> Path | None:
        """The segment that is written now."""
        return self._path

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
                if self._write(text):
                    return
                error = None
            except OSError as raised:
                error = raised
            self._keep_in_memory(line, error)

    def stamp(self) -> None:
        """Give a sign of life. Raises OSError without a disk."""
        with self._lock:
            self._own().stamp()

    def note(self, content: bytes) -> None:
        """Let other processes read something of this one. Raises OSError without a disk."""
        with self._lock:
            self._own().note(content)

    def in_memory(self) -> dict[int, bytes]:
        """Return the lines that are in memory only, by ascending number."""
        with self._lock:
            return dict(self._memory)

    def forget(self, below: int) -> None:
        """Let go of the lines in memory with smaller numbers."""
        with self._lock:
            for number in [each for each in self._memory if each < below]:
                del self._memory[number]

    def close(self) -> None:
        """Give the segments up: they are for whoever comes next."""
        with self._lock:
            path, left = self._path, bool(self._starts) or self.spans
            self._leave_segment()
            if path is not None and not left:
                path.unlink(missing_ok=True)
            if self._owner is not None:
                self._owner.resign(remove=path is None or not left)
                self._owner = None

    def forget_after_fork(self) -> None:
        """Start anew in a child process; what the parent wrote is the parent's to deliver."""
        self._lock = threading.Lock()
        if self._owner is not None:
            self._owner.forget_after_fork()
            self._owner = None
        self._leave_segment()
        self._memory.clear()
        self._starts = {}

    def _write(self, line: bytes) -> bool:
        """Append a line and say whether it is on disk; raises OSError."""
        if self._path is None or self._written >= _SEGMENT_BYTES:
            self._begin_segment()
        if self._torn:
            # The bytes that were written of a line before end here, as a line that is not one.
            line = b"\n" + line
        self._written += len(line)
        self._torn = os.write(self._descriptor, line) < len(line)
        return not self._torn

    def _own(self) -> Owner:
        if self._owner is None:
            self._owner = Owner(self._directory)
        return self._owner

    def _begin_segment(self) -> None:
        """Go on in a new segment, which begins with the runs that go on."""
        owner, before = self._own(), self._path
        self._count += 1
        path = self._directory / FOLDER / f"{owner.id}-{self._count}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        starts = b"".join(self._starts.values())
        if starts and os.write(descriptor, starts) < len(starts):
            os.close(descriptor)
            raise OSError(f"{path} cannot be begun")
        self._leave_segment()
        self._path, self._descriptor = path, descriptor
        if before is not None and not self.spans:
            before.unlink(missing_ok=True)

    def _leave_segment(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)
        self._path, self._descriptor, self._written, self._torn = None, -1, 0, False

    def _keep_in_memory(self, line: bytes, error: OSError | None) -> None:
        self._memory[self._next] = line
        self._next += 1
        if len(self._memory) > _MOST_IN_MEMORY:
            del self._memory[next(iter(self._memory))]
            self._dropped += 1
            if self._dropped & (self._dropped - 1) == 0:  # 1, 2, 4, 8 ...
                _logger.warning("%d spans dropped: no disk, no collector takes them", self._dropped)
        self._warn(error)

    def _warn(self, error: OSError | None) -> None:
        if not self._warned:
            self._warned = True
            reason = error or "it is full"
            _logger.warning("spans are kept in memory only: %s: %s", self._directory, reason)
