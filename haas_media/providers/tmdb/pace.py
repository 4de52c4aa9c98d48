"""Requests evenly spaced, whichever thread sends them."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The share by which the pace stays under its limit, and what is left of it at least when a caller
# was late. Were it all of it, lateness would add up from second to second.
RESERVE = 0.018
LEAST_RESERVE = 0.006
# Two requests do not take equally long to arrive. How long one took shows in how much longer than
# others it waited for its answer; beyond this share of the window that is the server's own doing.
MOST_DELAY = 0.1
# Requests among which the quickest is looked for: a machine may be slow for more than a second.
_REMEMBERED = 200
_LOOK_AGAIN = 0.01


class Sending:
    """One request under way, which tells its ``Pace`` when it is sent and when it is answered."""

    def __init__(self, clock: Callable[[], float], note: Callable[[Sending], None]) -> None:
        self._clock = clock
        self._note = note
        self.at = math.inf
        self.took: float | None = None

    def sent(self) -> None:
        """Take note that the request has been sent; only the first time counts."""
        if self.at == math.inf:
            self.at = self._clock()
            self._note(self)

    def answered(self) -> None:
        """Take note that its answer begins; only the first time counts."""
        if self.took is None:
            self.took = self._clock() - self.at


class Pace:
    """Let callers through one after the other, never more than ``per_second`` in any second.

    What counts is when a request reaches the server. So it is counted from when it was really sent
    (before that there may be a new connection, or a machine that is busy with other things), and
    for longer if its answer shows that it was long under way. A caller who wakes up late does not
    lower the rate, but a time without callers is not made up for by a burst. Safe to use from
    several threads.

    Args:
        per_second: requests a second, more than 0; a fraction below 1 is one request in
            ``1 / per_second`` seconds, above 1 it is rounded down.
        sleep: waits that many seconds; may raise to give up.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        per_second: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = max(1, math.floor(per_second))
        window = max(1.0, 1 / per_second)
        self._interval = window * (1 + RESERVE) / self._most
        self._window = window * (1 + LEAST_RESERVE)
        self._most_delay = window * MOST_DELAY
        self._due = -math.inf
        self._last = -math.inf
        self._held_until = -math.inf
        self._sleep = sleep
        self._clock = clock
        # Held while waiting for one's turn: nobody else could go sooner anyway.
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._sent: deque[Sending] = deque(maxlen=max(self._most, _REMEMBERED))
        self._about_to_send = 0

    @contextmanager
    def turn(self) -> Iterator[Sending]:
        """Wait until the caller may send one request, and take note of when it is sent.

        Yields:
            What is to be told when the request has been sent and when its answer begins; the end
            will do as well.
        """
        self._wait()
        sending = Sending(self._clock, self._note)
        try:
            yield sending
        finally:
            sending.sent()
            sending.answered()

    def hold(self, seconds: float) -> None:
        """Let nobody through for that many seconds from now: the server asked for it."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def _wait(self) -> None:
        asked = self._clock()
        with self._turn:
            while (seconds := self._free_at() - self._clock()) > 0:
                self._sleep(seconds)
            self._last = self._clock()
            on_schedule = asked - self._due < self._interval
            self._due = (self._due if on_schedule else self._last) + self._interval
            with self._counting:
                self._about_to_send += 1

    def _note(self, sending: Sending) -> None:
        with self._counting:
            self._about_to_send -= 1
            self._sent.append(sending)

    def _free_at(self) -> float:
        # Twice the pace at the most, to make up for having been late.
        earliest = max(self._due, self._last + self._interval / 2, self._held_until)
        with self._counting:
            room = self._most - self._about_to_send
            if room <= 0:
                return max(earliest, self._clock() + _LOOK_AGAIN)
            if len(self._sent) < room:
                return earliest
            return max(earliest, self._arrived(self._sent[-room]) + self._window)

    def _arrived(self, sending: Sending) -> float:
        """Return when a request has arrived at the latest, less what every request takes."""
        took = sending.took
        if took is None:
            return sending.at + self._most_delay
        quickest = min(other.took for other in self._sent if other.took is not None)
        return sending.at + min(took - quickest, self._most_delay)
