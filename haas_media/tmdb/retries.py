"""When to try a request again, and after how long."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


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
