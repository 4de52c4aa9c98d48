"""One stack at a time in a data directory, and where it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = "stack.lock"


class Claimed(Exception):
    """Another process has the data directory. The text is its address, if it has told one."""


class Claim:
    """A data directory that is claimed until the claim is released, or its process ends.

    Args:
        data_dir: the directory, which is made if need be.

    Raises:
        Claimed: another process has it.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            address = os.read(self._lock, 200).decode(errors="replace").strip()
            os.close(self._lock)
            raise Claimed(address) from None

    def tell(self, address: str) -> None:
        """Leave an address to be found by others."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, address.encode(), 0)

    def release(self) -> None:
        """Give the directory free."""
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


def address_of(data_dir: Path) -> str | None:
    """Return the API address of the stack that is up with this data directory, if one is."""
    with contextlib.suppress(OSError), (data_dir / LOCK_NAME).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() or None
    return None  # nobody holds the lock: what it says is of a stack that was killed
