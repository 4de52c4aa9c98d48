"""Run one command and never outlive, nor let it outlive, the process that asked for it.

A file of its own, started as ``python -I -S guard.py COMMAND ...`` between the encoding process
and ffmpeg. Standard input is a lifeline: its end, however it comes (closed on purpose, or by the
kernel when the process at the other end is SIGKILLed), makes the guard SIGKILL the command's
process group. On Linux the kernel tells too (PR_SET_PDEATHSIG), in case that another process has
inherited the lifeline's other end; and it kills the command should the guard itself be killed.

The guard is single-threaded, which is what makes its fork and prctl safe. It writes one line,
``guarded_pid=N``, before the command's own output, and ends with the command's exit code, or with
128 and the signal's number as shells do.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_REAP_SECONDS = 2.0
_NICENESS = 10


def main(command: list[str]) -> int:
    """Run the command to its end, or kill it when the lifeline breaks; give its exit code."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # What the command leaves behind (a wrapper script's ffmpeg) becomes ours to reap.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake = _wake_on_signals()
    child = os.fork()
    if child == 0:
        _become(command, os.getppid())
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    with contextlib.suppress(OSError):
        os.write(1, f"guarded_pid={child}\n".encode())
    try:
        status = _wait(child, wake)
    finally:
        _kill(child)
    if status is None:
        status = _reap(child)
    _reap(None)
    return _exit_code(status)


def _wake_on_signals() -> int:
    """Turn signals into bytes on a pipe, whose end to read is returned."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reader


def _become(command: list[str], guard: int) -> None:
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(125)
        give_way()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Python ignores it, and what is ignored stays so across exec. SIGXFSZ stays ignored: a file
        # that may not grow is then an error with a reason, not a silent death.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execv(command[0], command)  # noqa: S606 - an argv list, no shell
    except OSError as error:
        os.write(2, f"[fatal] {command[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def give_way() -> None:
    """Let whoever plays a film, scans or looks at a page go first: encoding takes all it gets."""
    niceness = os.nice(_NICENESS)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:  # noqa: PTH123
        group.write(str(niceness))  # where sessions share the processors, their own counts alone


def _wait(child: int, wake: int) -> int | None:
    """Wait until the child ends (its status) or has to end (None)."""
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            numbers = os.read(wake, 4096)
            status = _reap_ready(child)
            if status is not None:
                return status
            if signal.SIGTERM in numbers or signal.SIGHUP in numbers:
                return None
        if 0 in readable and not os.read(0, 4096):
            return None


def _reap_ready(child: int) -> int | None:
    """Reap whatever has ended; give the child's own status once it has."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def _kill(child: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)


def _reap(child: int | None) -> int:
    """Reap the child, or with None all that is left, within a bound; give the last status."""
    last = 0
    deadline = time.monotonic() + _REAP_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            pid, status = os.waitpid(-1 if child is None else child, os.WNOHANG)
            if pid == 0:
                time.sleep(0.005)
                continue
            last = status
            if pid == child:
                break
    return last


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _prctl(option: int, value: int) -> None:
    """Ask the Linux kernel; elsewhere the lifeline alone has to do."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
