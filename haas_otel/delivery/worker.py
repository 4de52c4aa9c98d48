"""A thread that works in the background, and that nobody has to wait for."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)
_WARN_EVERY_SECONDS = 60.0


class Worker:
    """A thread that makes a round of its work when it is woken, asked to, or idle for long.

    `work` is called with whether somebody waits for the round, `end` after the last one.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.begun = False
        self._woken = False
        self._wanted = 0
        self._done = 0
        self._warned_at: dict[str, float] = {}
        self._looked_at = float("-inf")
        self.ended = False
        self.closing = False

    def work(self, *, urgent: bool) -> None:
        """Make one round."""
        raise NotImplementedError

    def end(self) -> None:
        """Let go of what is held."""

    def looks_at_others(self, *, urgent: bool) -> bool:
        """Say whether it is time to look at what other processes have left."""
        now = time.monotonic()
        lately = now - self._looked_at < self._limits.idle.total_seconds()
        if lately and (self.closing or not urgent):
            return False
        self._looked_at = now
        return True

    def pause(self) -> float:
        """Return the seconds until there may be something to do though nobody has said so."""
        return self._limits.idle.total_seconds()

    def wake(self) -> None:
        """Say that there is something to do. Cheap; starts the thread when there is none."""
        if self._woken:
            return
        with self._changed:
            self._woken = True
            self._changed.notify_all()
            self._ensure_thread()

    def start(self) -> None:
        """Start the thread when there is none: it works when it is idle. Cheap."""
        if not self.begun:
            with self._changed:
                self._ensure_thread()

    def ask(self) -> int:
        """Ask for a whole round; return its number."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted if self._ensure_thread() else 0

    def await_round(self, number: int, until: float) -> bool:
        """Wait until a round is done, and say whether it was; ``until`` as ``time.monotonic``."""
        with self._changed:
            return bool(number) and self._changed.wait_for(
                lambda: self._done >= number or self.ended, max(0.0, until - time.monotonic())
            )

    def close(self) -> None:
        """Have the last round made."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()
            if not self.begun:
                self.ended = True

    def await_end(self, until: float) -> bool:
        """Wait until all is done, and say whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, max(0.0, until - time.monotonic()))

    def warn(self, kind: str, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log a warning, at most once a minute for each kind."""
        now = time.monotonic()
        if now - self._warned_at.get(kind, -_WARN_EVERY_SECONDS) >= _WARN_EVERY_SECONDS:
            self._warned_at[kind] = now
            _logger.warning(message, *arguments, exc_info=exc_info)

    def _ensure_thread(self) -> bool:
        """Start the thread if there is none, and say whether there is one; with the lock held."""
        if self._thread is None and not self.closing:
            self.begun = True
            try:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                self.begun = False
                return False
        return not self.ended

    def _run(self) -> None:
        from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

        with self._changed:
            # A signal handler's exception may have struck between the start of a thread and the
            # note of it: so the thread takes note itself, and a second one finds its place taken.
            if self._thread is not None:
                return
            self._thread = threading.current_thread()
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            last = False
            while not last:
                number, last = self._await_work()
                try:
                    self.work(urgent=last or number > self._done)
                except Exception:  # noqa: BLE001 - the thread outlives whatever goes wrong
                    self.warn("round", "a round of delivery failed", exc_info=True)
                with self._changed:
                    self._done = number
                    self._changed.notify_all()
            self.end()
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _await_work(self) -> tuple[int, bool]:
        """Wait for work; return the number of rounds asked for, and whether it is the last."""
        with self._changed:
            if self._changed.wait_for(lambda: self._woken or self._urgent, self.pause()):
                # More spans may end at once: they go together.
                self._changed.wait_for(lambda: self._urgent, self._limits.delay.total_seconds())
            self._woken = False
            return self._wanted, self.closing

    @property
    def _urgent(self) -> bool:
        return self.closing or self._wanted > self._done
