"""Where runs of this machine write, so that any later run finds what a killed one has left.

A run sweeps its own output's folder; but a film mostly has a folder of its own, which may never be
encoded into again. So each run keeps a small file in the register while it lives, named as its
partial file's id and holding the folder's path. One that is still there later is looked after.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from haas_media.encoding.partial import sweep_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def noted(register: Path | None, identity: str, folder: Path) -> Iterator[None]:
    """Keep a run's folder in the register while it lives. A register that fails costs nothing.

    ``identity`` is that of the run's partial file.
    """
    descriptor = -1
    if register is not None:
        with contextlib.suppress(OSError):
            descriptor = _note(register / identity, folder)
    try:
        yield
    finally:
        if register is not None and not _left(identity, folder):  # else somebody has to come back
            _drop(register / identity)
        if descriptor >= 0:
            os.close(descriptor)


def sweep_noted(register: Path | None) -> list[Path]:
    """Remove the partial files of dead runs from the folders in the register; list them."""
    removed: list[Path] = []
    for entry in _entries(register):
        with contextlib.suppress(OSError):
            descriptor = os.open(entry, os.O_RDWR)
            try:
                if _lock(descriptor):
                    removed += _sweep(entry, os.fsdecode(os.pread(descriptor, 65536, 0)))
            finally:
                os.close(descriptor)
    return removed


def _sweep(entry: Path, noted_folder: str) -> list[Path]:
    folder = Path(noted_folder)
    if not folder.is_absolute():  # the power went as it was written
        _drop(entry)
        return []
    if not folder.is_dir():  # its disk may come back
        return []
    removed = sweep_folder(folder)
    if not _left(entry.name, folder):
        _drop(entry)
    return removed


def _note(entry: Path, folder: Path) -> int:
    """Write an entry; give its descriptor, which holds its lock."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(entry, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    _lock(descriptor)
    os.write(descriptor, os.fsencode(folder))
    os.fsync(descriptor)
    return descriptor


def _lock(descriptor: int) -> bool:
    """Lock an entry, unless the run that it belongs to lives."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # where there are no locks, its files tell for themselves
    return True


def _entries(register: Path | None) -> list[Path]:
    try:
        return sorted(register.iterdir()) if register else []
    except OSError:
        return []


def _left(identity: str, folder: Path) -> bool:
    """Tell whether a run's files are there, or may be."""
    try:
        return any(f".{identity}.haas-" in name for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return True


def _drop(entry: Path) -> None:
    with contextlib.suppress(OSError):
        entry.unlink()
