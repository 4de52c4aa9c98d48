"""How far a long piece of work has come, for whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


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
