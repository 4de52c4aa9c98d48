"""Progress of a scan: 70 % files, 30 % people; it never goes back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from haas_media.progress import OnProgress, Progress

if TYPE_CHECKING:
    from collections import Counter

# Where each phase ends; the files' part ends at 0.7.
_PHASES = {
    "walking": (0.0, 0.05),
    "identifying": (0.05, 0.25),
    "probing": (0.25, 0.45),
    "looking up": (0.45, 0.70),
    "people": (0.70, 1.0),
}
_MIN_SECONDS = 0.1


class Meter:
    """Tells how far a scan is, at most ten times a second.

    Args:
        on_progress: who wants to know, if anybody.
        counts: counted elsewhere, told along.
    """

    def __init__(self, on_progress: OnProgress | None, counts: Counter[str]) -> None:
        self._on_progress = on_progress
        self._counts = counts
        self._fraction = 0.0
        self._told = 0.0
        self._phase = ""

    def tell(self, phase: str, share: float, current: str = "") -> None:
        """Tell that a phase is done to a share between 0 and 1."""
        start, end = _PHASES[phase]
        self._fraction = max(self._fraction, start + (end - start) * min(max(share, 0.0), 1.0))
        if self._on_progress is None:
            return
        now = time.monotonic()
        if phase == self._phase and now - self._told < _MIN_SECONDS:
            return
        self._told, self._phase = now, phase
        self._on_progress(Progress(self._fraction, _shown(current), dict(self._counts), phase))

    def finish(self) -> None:
        """Tell that all is done."""
        if self._on_progress:
            self._on_progress(Progress(1.0, "", dict(self._counts), "done"))


def _shown(current: str) -> str:
    return current.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
