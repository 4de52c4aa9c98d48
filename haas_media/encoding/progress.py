"""How far an encoding is, from what ffmpeg writes with ``-progress``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Tick:
    """One block of ffmpeg's progress. ``out_time`` in seconds; ``speed`` 2.0 is twice real time.

    ``dropped`` counts the pictures that had no room between others.
    """

    out_time: float | None = None
    speed: float | None = None
    dropped: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class EncodeProgress:
    """How far an encoding is.

    ``phase`` is what is being done: finding the quality, encoding, looking for damage, verifying.
    ``percent`` is from 0 to 100 and never falls; 100 is told only once the output is in its place.
    ``speed`` is how many seconds of the media are done in a second, ``remaining`` the time it will
    still take, where they can be known.
    """

    percent: float
    speed: float | None = None
    remaining: timedelta | None = None
    phase: str = "encoding"


class TickParser:
    """Puts ffmpeg's ``key=value`` lines together into ticks; whatever it cannot read, it skips."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Tick | None:
        """Take one line; give a tick when the line completes it."""
        key, equals, value = line.strip().partition("=")
        if not equals:
            return None
        if key != "progress":
            self._fields[key] = value.strip()
            return None
        fields, self._fields = self._fields, {}
        micro = _number(fields.get("out_time_us"))
        return Tick(
            out_time=None if micro is None else max(0.0, micro / 1_000_000),
            speed=_number(fields.get("speed", "").removesuffix("x")),
            dropped=int(_number(fields.get("drop_frames")) or 0),
            ended=value.strip() == "end",
        )


class ProgressMeter:
    """Turns ticks into progress that never goes back. ``duration`` is expected, in seconds."""

    def __init__(self, duration: float | None) -> None:
        self._duration = duration
        self._phase = "encoding"
        self._since, self._until, self._is_last = 0.0, 100.0, True
        self._percent = 0.0
        self._out_time = 0.0

    def begin(
        self, phase: str, until: float, duration: float | None = None, *, share: float = 1.0
    ) -> None:
        """Begin a phase that lasts until so many percent of all are done.

        ``duration`` is how much of the media it works through, in seconds. Of a phase of several
        steps, whose number nobody knows, this one is a ``share`` of what is left.
        """
        self._phase, self._since = phase, self._percent
        self._until = self._percent + (until - self._percent) * share
        self._is_last = share == 1
        self._duration, self._out_time = duration, 0.0

    def measure(self, tick: Tick) -> EncodeProgress:
        """Tell how far it is. Below 100 until the output has been checked and is in its place."""
        self._out_time = max(self._out_time, tick.out_time or 0.0)
        remaining = None
        if self._duration:
            done = min(1.0, self._out_time / self._duration)
            here = self._since + (self._until - self._since) * done
            self._percent = max(self._percent, min(99.9, here))
            if tick.speed and self._is_last:
                left = max(0.0, self._duration - self._out_time) / tick.speed
                remaining = timedelta(seconds=round(left))
        return EncodeProgress(
            percent=round(self._percent, 1),
            speed=tick.speed,
            remaining=remaining,
            phase=self._phase,
        )

    def complete(self, tick: Tick) -> EncodeProgress:
        """Tell that the output is in its place."""
        done = self.measure(tick)
        return replace(done, percent=100.0, remaining=timedelta(0), phase="encoding")


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    # Neither infinite nor "not a number", nor ffmpeg's own sign for an unknown time.
    return number if abs(number) < 1e18 else None
