"""What can go wrong on the way to TMDb, as a script."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal

How = Literal["status", "stall", "trickle", "truncate", "garbage", "reset"]

MESSAGES = {
    401: (7, "Invalid API key: You must be granted a valid key."),
    403: (10, "Suspended API key: Access to your account has been suspended, contact TMDB."),
    404: (34, "The resource you requested could not be found."),
    422: (20, "Invalid date range: Should be a range no longer than 14 days."),
    429: (25, "Your request count (41) is over the allowed limit of (40)."),
    500: (11, "Internal error: Something went wrong, contact TMDb."),
    502: (43, "Couldn't connect to the backend server."),
    503: (9, "Service offline: This service is temporarily offline, try again later."),
    504: (24, "Your request to the backend server timed out. Try again."),
}


@dataclass(frozen=True)
class Fault:
    """One kind of failure.

    ``status`` answers with TMDb's own body for it; ``stall`` sends nothing for ``seconds`` and
    then hangs up, ``trickle`` pauses so long after each byte, ``truncate`` ends in the middle of
    the JSON with a right length, ``garbage`` is a page of HTML with 200, ``reset`` a TCP reset.
    """

    how: How
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 30.0


class Script:
    """Which requests fail, how, and how many times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[Fault, re.Pattern[str], int | None]] = []
        self.outage: Fault | None = None

    def add(self, fault: Fault, path: str, times: int | None) -> None:
        """Make the next ``times`` requests whose path matches fail; for ever with None."""
        with self._lock:
            self._entries.append((fault, re.compile(path), times))

    def clear(self) -> None:
        """Let everything succeed again."""
        with self._lock:
            self._entries.clear()
            self.outage = None

    def next_for(self, path: str) -> Fault | None:
        """Return the fault of this request, using it up."""
        with self._lock:
            if self.outage is not None:
                return self.outage
            for position, (fault, pattern, times) in enumerate(self._entries):
                if pattern.search(path):
                    if times is None:
                        return fault
                    if times == 1:
                        del self._entries[position]
                    else:
                        self._entries[position] = (fault, pattern, times - 1)
                    return fault
        return None
