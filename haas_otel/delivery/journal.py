r"""What keeps a run and its span from dying with their process: lines in a file, one call each.

Every process appends to segments of its own, so that no span waits for a lock, for another process
or for a disk. A line is in the kernel's hands when `Journal.append` returns: SIGKILL does not lose
it. What is in a segment is sent from there, by its process or, when that is gone, by any other.

    >KEY\tJSON      a run has begun: its start record, or a newer one with the same key
    <KEY            it has ended
    NAMES\tJSON     a span, and the exporters that it has to go to
    =NAME\tJSON     how far that exporter has got, see `segments.Segment.settle`

Every process that writes holds a lock on a file of its own. The kernel gives the lock back when
the process ends, in whatever way, so a lock that can be taken is a process that is gone: no pid
that was given out again, no time-out to wait for. While it has runs, it stamps the file: the last
stamp of a dead process is its last sign of life.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger = logging.getLogger(__name__)

FOLDER, SUFFIX = "journal", ".jsonl"
# A segment that is longer is followed by a new one, so that what is sent can be removed.
_SEGMENT_BYTES = 1024 * 1024
_MOST_IN_MEMORY = 2048


class Journal:
    """The segments of this process in ``directory``. Safe for threads; see `forget_after_fork`.

    What the disk does not take goes into a segment in memory instead, up to 2048 lines. With
    ``spans`` False it is for start records alone, which nobody sends.
    """

    def __init__(self, directory: Path, *, spans: bool = True) -> None:
        self._directory = directory
        self.spans = spans
        # The id that this process's files carry, None when there are none; the segment that is
        # written now, and the one in memory.
        self.begun: str | None = None
        self.current: Path | None = None
        self.memory: Path | None = None
        # Of runs of dead processes that this one ends: the exporters that those had chosen.
        self.exporters: dict[str, tuple[str, ...]] = {}
        self._owner = self._descriptor = self._memory = -1
        self._count = self._dropped = 0
        self._warned = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._written = self._in_memory = self._users = 0
        self._torn = False
        self._starts: dict[str, bytes] = {}

    @property
    def running(self) -> bool:
        """Whether a run of this process goes on."""
        return bool(self._starts)

    def start(self, key: str, record: bytes) -> None:
        """Keep the start record of a run, as JSON on one line. Never raises."""
        with self._lock:
            line = b">%b\t%b\n" % (key.encode(), record)
            if self._write(line):
                self._starts[key] = line

    def end(self, key: str) -> None:
        """Note that a run has ended, unless its span has said so. Never raises."""
        with self._lock:
            if self._starts.pop(key, None) is not None:
                self._write(b"<%b\n" % key.encode())

    def append(self, line: bytes, key: str = "") -> None:
        """Keep one line of UTF-8, which must hold no line end. Never raises.

        ``key`` is that of the run that ends with this line.
        """
        with self._lock:
            line += b"\n"
            ended = self._starts.pop(key, None) is not None
            if not self._write(line + b"<%b\n" % key.encode() if ended else line):
                self._keep_in_memory(line)

    def stamp(self) -> None:
        """Give a sign of life. Raises OSError without a disk."""
        with self._lock:
            self._own()
            os.utime(self._owner)

    def forget_memory(self) -> None:
        """Let go of the segment in memory, of which all is sent."""
        with self._lock:
            if self.memory is not None:
                # Not closed: its number would be the next one's, which is read from its beginning.
                os.ftruncate(self._memory, 0)
                self.memory, self._in_memory = None, 0

    def enter(self) -> None:
        """Have the segments kept until `leave` is called once more."""
        with self._lock:
            self._users += 1

    def leave(self) -> bool:
        """Give the segments up, and say so, unless somebody else here sends from them."""
        with self._lock:
            self._users -= 1
            last = self._users <= 0
        if last:
            self.close()
        return last

    def close(self) -> None:
        """Give the segments up: they are for whoever comes next."""
        with self._lock:
            path, own = self.current, self.begun
            left = path is not None and (bool(self._starts) or self.spans)
            self._leave()
            if path is not None and not left:
                path.unlink(missing_ok=True)
            if own is not None and not left:
                lock_of(self._directory, own).unlink(missing_ok=True)

    def forget_after_fork(self) -> None:
        """Start anew in a child process; what the parent wrote is the parent's to deliver."""
        self._begin()
        self._leave()
        self.memory = None

    def _write(self, line: bytes) -> bool:
        """Append a line to the segment on disk, and say whether all of it is there."""
        try:
            if self.current is None or self._written >= _SEGMENT_BYTES:
                self._begin_segment()
            if self._torn:
                # The bytes that were written of a line before end here, as a line that is not one.
                line = b"\n" + line
            self._written += len(line)
            self._torn = os.write(self._descriptor, line) < len(line)
        except OSError as error:
            self._warn(error)
            return False
        if self._torn:
            self._warn("it is full")
        return not self._torn

    def _own(self) -> str:
        """Return this process's id, whose lock file is there; raises OSError."""
        if self.begun is None:
            own = f"{time.time_ns():016x}-{secrets.token_hex(6)}"
            path = lock_of(self._directory, own)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Locked before it has its name, so that nobody ever sees it unlocked.
            draft = path.with_name(f".{own}")
            try:
                descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.rename(path)
            except BaseException:  # a signal handler's
                draft.unlink(missing_ok=True)
                raise
            self.begun, self._owner = own, descriptor
        return self.begun

    def _begin_segment(self) -> None:
        """Go on in a new segment, which begins with the runs that go on."""
        own, before = self._own(), self.current
        self._count += 1
        path = self._directory / FOLDER / f"{own}-{self._count:06}{SUFFIX}"
        # Complete before it has its name: who looks for runs that go on reads the last one alone.
        draft = path.with_name(f".{path.name}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        starts = b"".join(self._starts.values())
        if starts and os.write(descriptor, starts) < len(starts):
            os.close(descriptor)
            draft.unlink()
            raise OSError(f"{path} cannot be begun")
        draft.rename(path)
        if before is not None:
            os.close(self._descriptor)
            if not self.spans:
                before.unlink(missing_ok=True)
        self.current, self._descriptor, self._written, self._torn = path, descriptor, 0, False

    def _leave(self) -> None:
        """Close the files, and so give the lock back."""
        if self.current is not None:
            os.close(self._descriptor)
        if self.begun is not None:
            os.close(self._owner)
        self.current = self.begun = None

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

    def _warn(self, reason: object) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("spans are kept in memory only: %s: %s", self._directory, reason)


def lock_of(directory: Path, owner_id: str) -> Path:
    """Return the lock file of a process."""
    return directory / FOLDER / f"{owner_id}.lock"


def is_alive(directory: Path, owner_id: str) -> bool:
    """Say whether the process with this id still lives."""
    path = lock_of(directory, owner_id)
    # Shared, so that two who look at once do not take each other for the owner.
    with contextlib.suppress(FileNotFoundError), locked(path, shared=True) as free:
        return not free
    return False


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold a lock on a file that is there, and say whether it was free. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(descriptor)
