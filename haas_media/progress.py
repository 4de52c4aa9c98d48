"""How far a long piece of work has come, for whoever wants to show it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from haas_media.wording import shown_path


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a long piece of work.

    Args:
        fraction: how much is done, from 0 to 1; never goes back within one piece of work.
        current: what is being worked on, for people.
        counts: what has been counted so far.
        phase: the part of the work that is under way.
    """

    fraction: float
    current: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    phase: str = ""


OnProgress = Callable[[Progress], None]


class PhasedProgress:
    """Reports the progress of work in phases; it never goes back.

    Args:
        on_progress: who wants to know, if anybody.
        phases: for each phase, at which fractions of the whole it begins and ends.
        every: seconds between two reports of a phase at the least.
    """

    def __init__(
        self,
        on_progress: OnProgress | None,
        phases: Mapping[str, tuple[float, float]],
        every: float = 0.1,
    ) -> None:
        self._every = every
        self._on_progress = on_progress
        self._phases = phases
        self._fraction = 0.0
        self._reported = 0.0
        self._phase = ""
        self.counts: Counter[str] = Counter()

    def report(self, phase: str, share: float, current: str = "") -> None:
        """Report that a phase is done to a share between 0 and 1."""
        start, end = self._phases[phase]
        self._fraction = max(self._fraction, start + (end - start) * min(max(share, 0.0), 1.0))
        if self._on_progress is None:
            return
        now = time.monotonic()
        if phase == self._phase and now - self._reported < self._every:
            return
        self._reported, self._phase = now, phase
        self._on_progress(Progress(self._fraction, shown_path(current), dict(self.counts), phase))

    def finish(self) -> None:
        """Report that all is done."""
        if self._on_progress:
            self._on_progress(Progress(1.0, "", dict(self.counts), "done"))
