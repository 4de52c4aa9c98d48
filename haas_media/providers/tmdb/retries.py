"""When to try a request again, after how long, and when to stop because TMDb is away."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = dt.timedelta(seconds=60)
PROBE_EVERY = dt.timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried again and how long the pauses are.

    Args:
        retries: further attempts after the first.
        first_wait: pause before the first retry; doubles with each further one.
        longest_wait: no pause of our own is longer.
        longest_retry_after: a server that asks for more than this is taken to be away.
        attempt_limit: an attempt whose answer is not complete by then has failed.
    """

    retries: int = 6
    first_wait: dt.timedelta = dt.timedelta(seconds=0.5)
    longest_wait: dt.timedelta = dt.timedelta(seconds=8)
    longest_retry_after: dt.timedelta = dt.timedelta(seconds=60)
    attempt_limit: dt.timedelta = dt.timedelta(seconds=30)

    def wait(self, retry: int) -> float:
        """Return the pause in seconds before the retry of that number (from 0).

        Half of it is random, so that callers who failed together do not come back together.
        """
        longest: float = min(
            self.first_wait * 2 ** min(retry, 16), self.longest_wait
        ).total_seconds()
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


def read_retry_after(value: str | None, now: dt.datetime | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for; None when it says nothing.

    Args:
        value: seconds, or a date as in RFC 9110, section 10.2.3.
        now: the present, aware; by default the clock's.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=dt.UTC)
    return max(0.0, (date - (now or dt.datetime.now(dt.UTC))).total_seconds())


class Outage:
    """Tell whether a request is worth sending.

    While the provider fails, every caller retries as usual: a short outage costs only the titles
    that were being read. When *nothing* has succeeded for ``patience``, calls fail at once, but
    for one in ``probe_every`` that tries its luck with a single attempt; the first that
    succeeds ends the outage. Safe to use from several threads.

    Args:
        patience: how long the provider may fail before calls fail at once.
        probe_every: pause between two attempts to find out whether it is back.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        patience: dt.timedelta = PATIENCE,
        probe_every: dt.timedelta = PROBE_EVERY,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience.total_seconds()
        self._probe_every = probe_every.total_seconds()
        self._clock = clock
        self._lock = threading.Lock()
        self._failing_since: float | None = None
        self._next_probe = 0.0

    @property
    def lasts(self) -> float | None:
        """Seconds since the provider began to fail, once that is longer than the patience."""
        since = self._failing_since
        if since is None:
            return None
        seconds = self._clock() - since
        return seconds if seconds > self._patience else None

    def admits(self) -> bool:
        """Say whether a call may start; during an outage that is one call in a while."""
        with self._lock:
            if self.lasts is None:
                return True
            now = self._clock()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._probe_every
            return True

    def failed(self) -> None:
        """Note an attempt that got no usable answer."""
        with self._lock:
            if self._failing_since is None:
                self._failing_since = self._clock()
                self._next_probe = 0.0

    def succeeded(self) -> None:
        """Note an answer, which ends whatever outage there was."""
        if self._failing_since is not None:
            with self._lock:
                self._failing_since = None

    def lasts_for(self, seconds: float) -> None:
        """Note that the server itself asks to be left alone for that long."""
        with self._lock:
            now = self._clock()
            self._failing_since = now - self._patience - 1
            self._next_probe = now + seconds
