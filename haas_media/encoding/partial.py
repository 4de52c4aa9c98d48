"""The hidden file an encoding is written to, until it is whole.

Beside the output ``Film.mkv`` there are, while it is being encoded,
``.Film.<id>.haas-partial.mkv`` and ``.Film.<id>.haas-lock``. The lock file is held with ``flock``
by the run and by its ffmpeg's guard, so that the kernel itself tells the next run whether they
still live. It also names the machine, because not every shared file system hands locks on to other
machines: there a partial file is stale when nobody has touched its lock file for a while.

A run sweeps its own output's folder; but a film mostly has a folder of its own, which may never be
encoded into again. So a register holds for each run that lives a small file, named as the run's id,
with the path of its folder. One whose run was killed is looked after by any later run.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import platform
import re
import secrets
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from haas_media.encoding.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

STALE_AFTER = timedelta(minutes=10)
_TOUCH_SECONDS = 30.0
_DYING_SECONDS = 1.0
_LOCK = ".haas-lock"
_OURS = re.compile(r"\..*\.(?P<id>[0-9a-f]{16})\.haas-(partial\.[a-z0-9]+|lock)", re.DOTALL)


class Partial:
    """A partial file with its lock, as a context manager that leaves nothing behind.

    ``path`` is for ffmpeg to write, ``sample`` for its trials; ``descriptor`` the lock, to be
    handed to ffmpeg. ``register`` is the folder in which it has its entry, if it is to have one.
    """

    def __init__(self, target: Path, register: Path | None = None) -> None:
        self._target = target
        identity = secrets.token_hex(8)
        suffix = target.suffix.lower()
        self.path = _beside(target, f".{identity}.haas-partial{suffix}")
        self.sample = _beside(target, f".{identity}.haas-partial.nut")
        self._lock_path = _beside(target, f".{identity}{_LOCK}")
        self._entry = register / identity if register else None
        self.descriptor = -1
        self._touched = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._lock()
            self._register()
        except OSError as error:
            self._remove()
            raise EncodingError(
                f"The folder {str(self._target.parent)!r} cannot be written to: {error.strerror}."
            ) from error
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # In a thread of its own: a second signal, which raises in the main thread as the first did,
        # would leave behind what is not removed yet. An exit of the interpreter waits for it.
        removed = threading.Event()
        threading.Thread(target=self._remove, args=(removed,), name="remove-partial").start()
        removed.wait()

    def touch(self) -> None:
        """Show machines that do not see the lock that this run lives. Cheap to call often."""
        if time.monotonic() - self._touched >= _TOUCH_SECONDS:
            self._touched = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.descriptor)

    def publish(self, on_publish: Callable[[], None] | None = None) -> None:
        """Bring the partial file to the disk for good, then let it take the output's place.

        ``on_publish`` is called between the two. Raises EncodingError; an existing output is as it
        was then.
        """
        try:
            with self.path.open("r+b") as file:
                _inherit_rights(file.fileno(), self._target)
                os.fsync(file.fileno())
            if on_publish is not None:
                on_publish()
            os.replace(self.path, self._target)  # noqa: PTH105 - what POSIX promises is atomic
        except OSError as error:
            raise EncodingError(
                f"The output could not be brought to {str(self._target)!r}: {error.strerror}."
            ) from error
        _sync_folder(self._target.parent)

    def _lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        self.descriptor = os.open(self._lock_path, flags, 0o644)
        with contextlib.suppress(OSError):
            # Where there are no locks, the machine's name and the time of the file have to do. A
            # sweep that looks at the file right now leaves it alone, new and empty as it is.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        os.write(self.descriptor, json.dumps({"machine": _machine(), "pid": os.getpid()}).encode())

    def _register(self) -> None:
        """Make the entry, behind the lock: it stands as long as there are files of its run."""
        if self._entry is not None:
            with contextlib.suppress(OSError):  # a register that fails costs nothing
                self._entry.parent.mkdir(parents=True, exist_ok=True)
                with self._entry.open("xb") as entry:
                    entry.write(os.fsencode(self._target.parent))
                    entry.flush()
                    os.fsync(entry.fileno())

    def _remove(self, removed: threading.Event | None = None) -> None:
        folder = self._target.parent
        with contextlib.suppress(OSError):  # somebody may have renamed it
            folder = Path(f"/proc/self/fd/{self.descriptor}").readlink().parent
        for path in (self.path, self.sample, self._lock_path):
            _unlink(folder / path.name)
        if self._entry is not None:
            _drop(self._entry, folder)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if removed is not None:
            removed.set()


def sweep_folder(folder: Path) -> None:
    """Remove the partial files of dead runs from one folder.

    A live run's is never touched, whichever process or machine it runs on.
    """
    found: dict[str, list[Path]] = collections.defaultdict(list)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if match := _OURS.fullmatch(path.name):
                found[match["id"]].append(path)
    for files in found.values():
        locks = [path for path in files if path.suffix == _LOCK]
        if _is_dead(locks[0]) if locks else all(map(_untouched, files)):
            # The lock file goes last: should this end in between, it still stands for the rest.
            for path in sorted(files, key=locks.__contains__):
                _unlink(path)


def sweep_registered(register: Path | None) -> None:
    """Sweep the folders in the register, if there is one."""
    with contextlib.suppress(OSError):
        for entry in sorted(register.iterdir()) if register else ():
            with contextlib.suppress(OSError):
                folder = Path(os.fsdecode(entry.read_bytes()))
                if folder.is_absolute() and folder.is_dir():  # else its disk may come back
                    sweep_folder(folder)
                    _drop(entry, folder)
                elif not folder.is_absolute() and _untouched(entry):
                    _unlink(entry)  # the power went as it was written


def _drop(entry: Path, folder: Path) -> None:
    """Drop an entry, unless files of its run are there, or may be."""
    with contextlib.suppress(OSError):
        if not any(f".{entry.name}.haas-" in name for name in os.listdir(folder)):  # noqa: PTH208
            entry.unlink()


def _is_dead(lock: Path) -> bool:
    try:
        with lock.open("r+b") as file:
            return _is_let_go(file.fileno(), lock)
    except OSError:
        return False


def _is_let_go(descriptor: int, lock: Path) -> bool:
    machine, pid = _owner(descriptor)
    is_here = machine == _machine()
    deadline = time.monotonic() + _DYING_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A run that was killed a moment ago still holds it, until its ffmpeg is gone too. One
            # in another container is not to be seen.
            if not is_here or _lives(pid) or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
            continue
        except OSError:
            return _untouched(lock)
        return is_here or _untouched(lock)


def _owner(descriptor: int) -> tuple[str, int]:
    """Read whose lock it is: the machine, and the process; empty and 0 where it does not tell."""
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return str(told["machine"]), int(told["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _untouched(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > STALE_AFTER.total_seconds()
    except OSError:
        return False


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _machine() -> str:
    """Name the running kernel: containers on it share its locks, another machine may not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _beside(target: Path, ending: str) -> Path:
    """Make a hidden name beside the target, cut to what the file system takes."""
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = 255
    room = longest - len(os.fsencode(ending)) - 1
    stem = target.stem
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return target.with_name(f".{stem}{ending}")


def _inherit_rights(descriptor: int, target: Path) -> None:
    """Give the new file the mode and owner of the one it replaces, as far as we may."""
    try:
        old = target.stat()
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, old.st_mode & 0o7777)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
