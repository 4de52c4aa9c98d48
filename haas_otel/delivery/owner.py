"""Which process a file or a lease belongs to, and whether that process still lives.

Every process that writes holds a lock on a file of its own in ``owners/``. The kernel gives the
lock back when the process ends, in whatever way, so a lock that can be taken is a process that is
gone: no pid that was given out again, no time-out to wait for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = "owners"
_DRAFT_SECONDS = 3600.0


class Owner:
    """This process, as others see it: an id, and a lock held for as long as it lives.

    Raises OSError when the file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.id = f"{os.getpid()}-{secrets.token_hex(6)}"
        folder = directory / _FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / self.id
        # Locked before it has its name, so that nobody ever sees it unlocked.
        draft = folder / f".{self.id}"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._path)

    def resign(self) -> None:
        """Give the lock back: what is still this owner's may be taken over by others."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)

    def forget_after_fork(self) -> None:
        """Close the child's copy of the lock, which goes on being the parent's."""
        os.close(self._descriptor)


def is_alive(directory: Path, owner_id: str) -> bool:
    """Say whether the process with this owner id still lives."""
    path = directory / _FOLDER / owner_id
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        # Ids are never used twice, so the file of a dead owner is of no more use.
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what dead owners left in ``owners/``. Never raises."""
    with contextlib.suppress(OSError):
        for path in list((directory / _FOLDER).iterdir()):
            if not path.name.startswith("."):
                is_alive(directory, path.name)
            elif time.time() - path.stat().st_mtime > _DRAFT_SECONDS:
                path.unlink(missing_ok=True)
