"""A thread that works in the background, and that nobody has to wait for."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

_logger = logging.getLogger(__name__)
_WARN_EVERY_SECONDS = 60.0


class Worker:
    """A thread that makes a round of its work when it is woken, asked to, or idle for long.

    `work` is called with whether somebody waits for the round, `end` after the last one. After
    `wake`, ``delay`` is waited for more to be done.
    """

    def __init__(self, name: str, delay: timedelta) -> None:
        self._name = name
        self._delay = delay.total_seconds()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = self._done = 0
        self._woken = self._closing = False
        self._warned_at: dict[str, float] = {}
        self.begun = self.ended = False

    def work(self, *, urgent: bool) -> None:
        """Make one round."""
        raise NotImplementedError

    def end(self) -> None:
        """Let go of what is held."""

    def pause(self) -> float:
        """Return the seconds until there may be something to do though nobody has said so."""
        raise NotImplementedError

    def wake(self) -> None:
        """Say that there is something to do. Cheap; starts the thread when there is none."""
        if not self._woken:
            with self._changed:
                self._woken = True
                self._changed.notify_all()
                self._ensure_thread()

    def ask(self) -> int:
        """Ask for a whole round; return its number."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted if self._ensure_thread() else 0

    def await_round(self, number: int, until: float) -> None:
        """Wait until a round is done; ``until`` as ``time.monotonic``."""
        self._await(lambda: self._done >= number or self.ended, until)

    def close(self) -> None:
        """Have the last round made."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self.ended = self.ended or not self.begun

    def await_end(self, until: float) -> bool:
        """Wait until all is done, and say whether it was; ``until`` as ``time.monotonic``."""
        return self._await(lambda: self.ended, until)

    def warn(self, kind: str, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log a warning, at most once a minute for each kind."""
        now = time.monotonic()
        if now - self._warned_at.get(kind, -_WARN_EVERY_SECONDS) >= _WARN_EVERY_SECONDS:
            self._warned_at[kind] = now
            _logger.warning(message, *arguments, exc_info=exc_info)

    def _await(self, condition: Callable[[], bool], until: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, max(0.0, until - time.monotonic()))

    def _ensure_thread(self) -> bool:
        """Start the thread if there is none, and say whether there is one; with the lock held."""
        if self._thread is None and not self._closing:
            self.begun = True
            try:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                self.begun = False
                return False
        return not self.ended

    def _run(self) -> None:
        with self._changed:
            # A signal handler's exception may have struck between the start of a thread and the
            # note of it: so the thread takes note itself, and a second one finds its place taken.
            if self._thread is not None:
                return
            self._thread = threading.current_thread()
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        last = False
        while not last:
            with self._changed:
                if self._changed.wait_for(lambda: self._woken or self._urgent, self.pause()):
                    self._changed.wait_for(lambda: self._urgent, self._delay)
                self._woken, number, last = False, self._wanted, self._closing
            try:
                self.work(urgent=last or number > self._done)
                if last:
                    self.end()
            except Exception:  # noqa: BLE001 - the thread outlives whatever goes wrong
                self.warn("round", "a round of delivery failed", exc_info=True)
            with self._changed:
                self._done, self.ended = number, last
                self._changed.notify_all()

    @property
    def _urgent(self) -> bool:
        return self._closing or self._wanted > self._done
