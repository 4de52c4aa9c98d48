"""Which process a segment belongs to, and whether that process still lives.

Every process that writes holds a lock on a file of its own. The kernel gives the lock back when
the process ends, in whatever way, so a lock that can be taken is a process that is gone: no pid
that was given out again, no time-out to wait for. While it has runs, it stamps the file: the last
stamp of a dead process is its last sign of life.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "journal"
_LOCK, _CLAIM = ".lock", ".claim"


class Owner:
    """This process, as others see it: an id, and a lock held for as long as it lives.

    Raises OSError when the file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.id = f"{os.getpid()}-{secrets.token_hex(6)}"
        folder = directory / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{self.id}{_LOCK}"
        # Locked before it has its name, so that nobody ever sees it unlocked.
        draft = folder / f".{self.id}"
        try:
            self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(self._path)
        except BaseException:  # a signal handler's
            draft.unlink(missing_ok=True)
            raise

    def stamp(self) -> None:
        """Give a sign of life."""
        os.utime(self._descriptor)

    def note(self, content: bytes) -> None:
        """Let others read something of this process."""
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))

    def resign(self, *, remove: bool = True) -> None:
        """Give the lock back: what is still this owner's may be taken over by others."""
        with contextlib.suppress(OSError):
            if remove:
                self._path.unlink()
        os.close(self._descriptor)

    def forget_after_fork(self) -> None:
        """Close the child's copy of the lock, which goes on being the parent's."""
        os.close(self._descriptor)


def is_alive(directory: Path, owner_id: str) -> bool:
    """Say whether the process with this owner id still lives."""
    return _is_locked(lock_of(directory, owner_id))


def lock_of(directory: Path, owner_id: str) -> Path:
    """Return the lock file of a process."""
    return directory / FOLDER / f"{owner_id}{_LOCK}"


def owners(directory: Path) -> list[str]:
    """Return the ids of all processes that have left or hold something here, oldest first."""
    found: dict[str, float] = {}
    with contextlib.suppress(OSError), os.scandir(directory / FOLDER) as entries:
        for entry in entries:
            stem, dot, suffix = entry.name.partition(".")
            if not stem or not dot or f".{suffix}" == _CLAIM:
                continue
            owner_id = stem.rpartition("-")[0] if stem.count("-") == 2 else stem
            with contextlib.suppress(FileNotFoundError):
                found[owner_id] = min(found.get(owner_id, 1e18), entry.stat().st_mtime)
    return sorted(found, key=found.__getitem__)


@contextlib.contextmanager
def claimed(directory: Path, owner_id: str) -> Iterator[bool]:
    """Claim what a dead process has left, and say whether it is ours: nobody else has it then.

    The claim goes with the lock file: when that is gone at the end, nothing is left to claim.
    """
    path = directory / FOLDER / f"{owner_id}{_CLAIM}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        try:
            yield mine and not is_alive(directory, owner_id)
        finally:
            if mine and not lock_of(directory, owner_id).exists():
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look at once do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
