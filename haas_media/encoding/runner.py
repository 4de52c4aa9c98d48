"""Run ffmpeg to its end, or to ours: it never outlives the call that started it.

A thread of its own starts ffmpeg, follows it and reaps it. Signal handlers raise in the main thread
alone, so that no cancel can come between the start of a process and the note of its number; the
calling thread just waits, and on whatever it is interrupted with has the other kill and reap.
The guard (see ``guard.py``) covers the one case left: that this whole process is SIGKILLed.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from haas_media.encoding.damage import Damage, DamageFinder, level_of, plain
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.ffmpeg import environment
from haas_media.encoding.progress import Tick, TickParser

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_GUARD = Path(__file__).with_name("guard.py")
_FIRST_MESSAGES = 20
_LAST_MESSAGES = 40
_LONGEST_LINE = 2000
_SCORE = re.compile(r"^\[(Parsed_libvmaf_|psnr@)\d+ ")
_MOST_SCORES = 8
_CHANGED = re.compile(
    r"^\[[va]f#0:(?P<stream>\d+)[^\]]*\] \[info\] Reconfiguring filter graph because \w+ parameters"
    r" changed to (?P<parameters>.*)"
)
_MOST_CHANGES = 100
# Until the guard has killed and reaped; after that it is done from here. A guard that has not said
# yet whom it guards is still starting.
_GUARD_SECONDS = 0.4
_GUARD_START_SECONDS = 3.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run of ffmpeg ended.

    ``last`` is its last progress, ``messages`` the beginning and the end of its warnings and
    errors, ``damage`` what it met in what it read, ``scores`` what filters have measured,
    ``changes`` to what pictures and sound changed in the middle, in ffmpeg's words, with the number
    of the output's stream.
    """

    returncode: int
    last: Tick
    messages: tuple[str, ...]
    damage: tuple[Damage, ...] = ()
    scores: tuple[str, ...] = ()
    changes: frozenset[tuple[int, str]] = frozenset()

    @property
    def succeeded(self) -> bool:
        """Tell whether ffmpeg says that it did all; of what it wrote that says nothing."""
        return self.returncode == 0 and self.last.ended

    @property
    def reason(self) -> str:
        """Say why it failed, in the words of its first error."""
        errors = (line for line in self.messages if level_of(line) in {"error", "fatal"})
        return plain(next(errors, "it gave no reason"))


def run(
    argv: Sequence[str],
    *,
    on_tick: Callable[[Tick], None] | None = None,
    on_wait: Callable[[], None] | None = None,
    interval: float = 1.0,
    keep_open: Sequence[int] = (),
    timeout: float | None = None,
    stop_at_damage: bool = False,
    spared: Collection[str] = (),
) -> Finished:
    """Run ffmpeg and wait for its end.

    ``on_tick`` is called in this thread, at most every ``interval`` seconds and only when there is
    something new; ``on_wait`` every ``interval`` seconds whatever happens. ``keep_open`` are file
    descriptors that stay open until ffmpeg is gone, even when this process is not there any more.
    After ``timeout`` seconds ffmpeg is killed; with ``stop_at_damage`` also when it has met some,
    which is none if a decoder that is ``spared`` says so.

    Raises EncodingError when it cannot be started or takes too long. Whatever interrupts the call
    (KeyboardInterrupt, a signal handler's exception, one of ``on_tick``) kills ffmpeg first.
    """
    supervised = _Supervised(argv, keep_open, spared)
    deadline = None if timeout is None else time.monotonic() + timeout
    told: Tick | None = None
    try:
        supervised.start()
        while not supervised.wait(interval):
            if deadline is not None and time.monotonic() > deadline:
                raise EncodingError(f"ffmpeg did not answer within {timeout:g} s.")
            if stop_at_damage and supervised.damaged:
                break
            if on_wait is not None:
                on_wait()
            tick = supervised.latest
            if on_tick is not None and tick is not None and tick is not told:
                told = tick
                on_tick(tick)
    finally:
        supervised.stop()
    return supervised.result()


class _Supervised:
    """A run of ffmpeg with the thread that owns it."""

    def __init__(
        self, argv: Sequence[str], keep_open: Sequence[int], spared: Collection[str]
    ) -> None:
        self.latest: Tick | None = None
        self._argv = list(argv)
        self._keep_open = tuple(keep_open)
        self._log = _Log(spared)
        self._parser = TickParser()
        self._guarded: int | None = None
        self._returncode: int | None = None
        self._error: BaseException | None = None
        self._stopping = False
        self._done = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        # A daemon, lest an interpreter that has to go waits for it; the guard ends ffmpeg then.
        self._thread = threading.Thread(target=self._supervise, name="ffmpeg", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def stop(self) -> None:
        """Have ffmpeg killed if it still runs, and wait until it is reaped."""
        self._stopping = True
        with contextlib.suppress(OSError):
            os.write(self._wake_writer, b"x")
        if self._done.wait(_STOP_SECONDS):
            os.close(self._wake_writer)
            os.close(self._wake_reader)

    @property
    def damaged(self) -> bool:
        return any(not each.is_of_a_cut for each in self._log.damage.found)

    def result(self) -> Finished:
        if self._error is not None:
            if isinstance(self._error, OSError):
                raise EncodingError(
                    f"ffmpeg cannot be started: {self._error.strerror}."
                ) from self._error
            raise self._error
        returncode = -1 if self._returncode is None else self._returncode
        log = self._log
        return Finished(
            returncode,
            self.latest or Tick(),
            log.kept(),
            tuple(log.damage.found),
            log.scores,
            frozenset(log.changes),
        )

    def _supervise(self) -> None:
        try:
            if not self._stopping:
                self._follow_to_the_end()
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            self._error = error
        finally:
            self._done.set()

    def _follow_to_the_end(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), *self._argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(),
            cwd="/",
            # A session of its own: a terminal's Ctrl-C is for us to hand on.
            start_new_session=True,
            pass_fds=self._keep_open,
        )
        try:
            self._follow(process)
        finally:
            self._end(process)
            code = process.returncode
            # As the guard has it for ffmpeg, so for the guard itself: 128 and the signal.
            self._returncode = code if code >= 0 else 128 - code

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - pipes were asked for
        assert process.stderr is not None  # noqa: S101
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ, None)
            selector.register(process.stdout, selectors.EVENT_READ, _Lines(self._take_progress))
            selector.register(process.stderr, selectors.EVENT_READ, _Lines(self._log.take))
            open_pipes = 2
            while open_pipes and not self._stopping:
                ready = selector.select(timeout=0.5)
                if not ready and process.poll() is not None:
                    break  # something that escaped the guard holds the pipes
                for key, _ in ready:
                    if key.data is not None and not key.data.read(key.fd):
                        selector.unregister(key.fileobj)
                        open_pipes -= 1

    def _take_progress(self, line: str) -> None:
        if self._guarded is None and line.startswith("guarded_pid="):
            self._guarded = int(line.partition("=")[2])
            return
        tick = self._parser.feed(line)
        if tick is not None:
            self.latest = tick

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Cut the lifeline, which makes the guard kill; be rougher if that does not help."""
        if process.stdin is not None:
            process.stdin.close()
        patience = _GUARD_START_SECONDS if self._guarded is None else _GUARD_SECONDS
        try:
            process.wait(patience if self._stopping else _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            if self._guarded is not None:
                with contextlib.suppress(OSError):
                    os.killpg(self._guarded, signal.SIGKILL)
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


class _Log:
    """Keeps the beginning and the end of the errors and warnings of a log, however long it is.

    And what it says of an input as a whole, which comes once or twice, in between thousands of
    lines about single frames.
    """

    def __init__(self, spared: Collection[str]) -> None:
        self.damage = DamageFinder(spared)
        self.scores: tuple[str, ...] = ()
        self.changes: set[tuple[int, str]] = set()
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LAST_MESSAGES)

    def take(self, line: str) -> None:
        if _SCORE.match(line):
            self.scores = (*self.scores, line)[-_MOST_SCORES:]
        changed = _CHANGED.match(line)
        if changed is not None and len(self.changes) < _MOST_CHANGES:
            self.changes.add((int(changed["stream"]), changed["parameters"]))
        if not self.damage.take(line):
            return
        most = _FIRST_MESSAGES * (2 if line.startswith("[in#") else 1)
        if len(self._first) < most:
            self._first.append(line)
        else:
            self._last.append(line)

    def kept(self) -> tuple[str, ...]:
        return (*self._first, *self._last)


class _Lines:
    """Cuts what comes through a pipe into lines, of bounded length."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def read(self, descriptor: int) -> bool:
        """Read what there is; False at the end."""
        data = os.read(descriptor, 65536)
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if not data and self._rest:
            lines.append(self._rest)
        self._rest = self._rest[:_LONGEST_LINE]
        for line in lines:
            if line:
                self._take(line[:_LONGEST_LINE].decode(errors="replace"))
        return bool(data)
