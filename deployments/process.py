"""A child process of the local stack: its log file, its tail, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

# What a child does before it becomes its command. Not between fork and exec: there, handlers of
# libraries run that have threads in the parent, as gRPC has, and may abort it.
_BEGIN = """
import ctypes, os, signal, sys
parent, begun, *command = sys.argv[1:]
os.set_inheritable(int(begun), False)
# A shell that puts us in the background ignores SIGINT for us, and a child would inherit that; a
# Prefect worker then ignores SIGTERM too, which it turns into a SIGINT.
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG of linux/prctl.h
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""


class Child:
    """A process in a session of its own, so that a terminal's Ctrl-C reaches only its parent.

    On Linux it gets SIGTERM should the parent be killed.

    Args:
        name: what people call it, such as "Prefect server".
        argv: the command.
        environment: its whole environment.
        log: the file that takes its output; what is there is kept.
        cwd: its working directory.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        begun, told = os.pipe()
        beginning = [sys.executable, "-ISc", _BEGIN, f"{os.getpid()}", f"{told}"]
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [*beginning, *argv],
                pass_fds=[told],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(told)
        with open(begun, "rb") as begins:  # noqa: PTH123 - a descriptor
            begins.read()  # until its command has taken over, and heeds signals

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for the end; return the exit code, or None when it still runs after ``seconds``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            self._process.send_signal(number)

    def stop(self, seconds: float) -> None:
        """End it with SIGTERM, and with SIGKILL when it has not obeyed after ``seconds``."""
        if self.returncode is None:
            self._process.terminate()
            if self.wait(seconds) is None:
                self.kill()

    def kill(self) -> None:
        """End it and what it started in its session, at once."""
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self, lines: int = 15) -> str:
        """Return the last lines that this process wrote."""
        with self.log.open("rb") as written:
            written.seek(self._log_start)
            kept = deque(written, maxlen=lines)
        return b"".join(kept).decode(errors="replace").rstrip()


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Poll ``condition`` until it holds; return whether it did within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
