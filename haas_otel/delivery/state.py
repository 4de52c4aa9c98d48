"""What the processes of a machine know of an exporter: when to try again, whether it answers."""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from haas_otel.delivery.exporters import is_installed
from haas_otel.delivery.segments import locked

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

# A collector that names a later moment is asked before that: it may have meant something else, and
# the clock may have been set back since.
_LONGEST_WAIT_SECONDS = 3600.0
_PREFIX = "exporter-"
_FIND_OUT_EVERY_SECONDS = 3600.0


def asked_for(directory: Path, lately: timedelta) -> frozenset[str]:
    """Return the exporters that some process has asked for lately, of those that are installed."""
    found, since = set(), time.time() - lately.total_seconds()
    for path in directory.glob(f"{_PREFIX}*.json"):
        key = unquote(path.stem.removeprefix(_PREFIX))
        with suppress(OSError):
            if path.stat().st_mtime > since and is_installed(key):
                found.add(key)
    return frozenset(found)


class ExporterState:
    """A file with what is known of an exporter.

    ``until`` in seconds since the epoch; ``answers`` None as long as nothing is known. Whether one
    is slow or silent only waiting shows: the end of a process waits longer for it once in an hour.
    Whoever holds the lock on the file sends what dead processes have left.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self._path = directory / f"{_PREFIX}{quote(key, safe='')}.json"
        self.until = self._waited_at = 0.0
        self.answers: bool | None = None
        self.read()

    def read(self) -> None:
        """Learn what other processes have learnt."""
        with suppress(OSError, ValueError, TypeError):
            until, answers, waited_at = json.loads(self._path.read_text())
            self.until, self._waited_at = float(until), float(waited_at)
            self.answers = None if answers is None else bool(answers)
        if not self.until - time.time() <= _LONGEST_WAIT_SECONDS:
            self.until = 0.0

    def throttle(self, seconds: float) -> None:
        """Have nobody send for so long, an hour at most."""
        self.until = time.time() + min(seconds, _LONGEST_WAIT_SECONDS)
        self._write()

    def note(self, *, answers: bool) -> None:
        """Note whether an answer came."""
        if answers is not self.answers:
            self.answers = answers
            self._write()

    def may_wait_long(self) -> bool:
        """Say whether the end of a process waits until an answer comes."""
        since = time.time() - self._waited_at
        if self.answers is False and not 0 <= since < _FIND_OUT_EVERY_SECONDS:
            self._waited_at = time.time()
            self._write()
            return True
        return bool(self.answers)

    def ask(self) -> None:
        """Note that this exporter is asked for, by the time of the file's last change."""
        if not os.access(self._path, os.F_OK):
            self._write()
        with suppress(OSError):
            os.utime(self._path)

    def alone(self) -> AbstractContextManager[bool]:
        """Be the only process that sends what others left, or say that another one is."""
        # Else there is no disk, and so nothing that others left.
        readable = os.access(self._path, os.R_OK)
        return locked(self._path) if readable else nullcontext(False)

    def _write(self) -> None:
        # In one call, and in the file that others may hold the lock on.
        text = json.dumps([self.until, self.answers, self._waited_at]).ljust(80)
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(descriptor, text.encode(), 0)
            os.close(descriptor)
