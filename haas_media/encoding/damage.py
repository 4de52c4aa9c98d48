"""Where a decoder has met damage: its errors, each with its place in time."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_PREFIX = re.compile(r"^(\[[^\]]*\] ?)+")
_LEVEL = re.compile(r"\[(?P<level>fatal|error|warning|info|verbose|debug)\]")
_DECODED = re.compile(r"^\[[va]ist#.* decoder -> .*pts_time:(?P<time>-?[\d.]+)")
# Of sound only its filters tell when it is heard, which may be long before a picture of that time.
_HEARD = re.compile(r"^\[af#.* filter_raw -> .*pts_time:(?P<time>-?[\d.]+)")
_HAS_PICTURES = re.compile(r"^\[info\] +Stream .* -> wrapped_avframe ")
_OF_PART = re.compile(r"^\[(?P<name>[^\]@]+) @ ")
# Of what is written, not of what is read; and what is no fault of anything.
_WRITING = re.compile(
    r"^\[(vost|aost|sost|tost|out|vf|af|fc|Parsed_|lib(x26|svt|vpx|aom|opus|mp3)|mp4|mov|matroska"
    r"|webm|null|enc:|AVHW|[a-z0-9]+_(nvenc|qsv|vaapi|amf|videotoolbox) )(?!,)[^\]]*\]"
)
_HARMLESS = re.compile(
    r"(?i)Header missing$|Last message repeated|non monotonically increasing dts"
    r"|Invalid UTF-8 in decoded|Application provided invalid"
    r"|Could not find codec parameters|Estimating duration"
    r"|Referenced QT chapter track not found"  # as ffmpeg writes it of chapters without titles
    # What cameras note beside their pictures.
    r"|SEI type \d+ size \d+ truncated|unable to decode APP fields|in EXIF data"
)
_CORRUPT = re.compile(
    r"corrupt (decoded frame|input packet)|Packet corrupt|CRC (error|mismatch)|checksum"
)
_TOGETHER_SECONDS = 1.0
_MOST_PLACES = 1000


@dataclass(frozen=True, slots=True)
class Damage:
    """A place, in seconds from the beginning, at which a decoder found errors.

    ``start`` is None when it is not known, as in a log that has no times of pictures.
    """

    start: float | None
    end: float
    message: str

    @property
    def is_of_a_cut(self) -> bool:
        """Tell whether it may say no more than that this was cut out of a longer film."""
        return self.message.endswith("mmco: unref short failure")

    def __str__(self) -> str:
        if self.start is None:
            return "somewhere"
        if self.end - self.start < _TOGETHER_SECONDS:
            return f"at {clock(self.start)}"
        return f"from {clock(self.start)} to {clock(self.end)}"


class DamageFinder:
    """Reads ffmpeg's log, made at level ``info``, as it comes; ``-debug_ts`` gives the places.

    What the decoders that are ``spared`` say is no damage.
    """

    def __init__(self, spared: Collection[str] = ()) -> None:
        self.found: list[Damage] = []
        self._spared = spared
        self._now: float | None = None
        self._sees = False

    def take(self, line: str) -> bool:
        """Take a line; tell whether it is worth keeping in a log."""
        self._sees = self._sees or _HAS_PICTURES.match(line) is not None
        decoded = _DECODED.match(line) or (None if self._sees else _HEARD.match(line))
        if decoded is not None:
            if self._now is None:  # what was met before the first picture is at the beginning
                self.found = [replace(each, start=0.0) for each in self.found]
            self._now = float(decoded["time"])
            return False
        level = level_of(line) or "error"
        bad = level in {"error", "fatal"} or (level == "warning" and _CORRUPT.search(line))
        part = _OF_PART.match(line)
        told = part is not None and part["name"] not in self._spared
        if bad and told and not (_WRITING.match(line) or _HARMLESS.search(line)):
            self._note(line)
        return level in {"error", "fatal", "warning"}

    def _note(self, line: str) -> None:
        last = self.found[-1] if self.found else None
        now = self._now
        if last is not None and (
            now is None or (last.start is not None and now - last.end < _TOGETHER_SECONDS)
        ):
            self.found[-1] = replace(last, end=max(last.end, now or 0.0))
        elif len(self.found) < _MOST_PLACES:
            self.found.append(Damage(now, now or 0.0, line))


def level_of(line: str) -> str | None:
    """Read the level of a line of ffmpeg's log, which a continued one does not have."""
    match = _LEVEL.search(line)
    return None if match is None else match["level"]


def plain(line: str) -> str:
    """Give a line of ffmpeg's log without who says it, and how loud."""
    return _PREFIX.sub("", line).rstrip(".")


def clock(seconds: float) -> str:
    """Write a place in a film: ``1:02:03.4``."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def places(damage: tuple[Damage, ...], most: int = 5) -> str:
    """List the first places in words."""
    more = f" and {len(damage) - most} more" if len(damage) > most else ""
    return ", ".join(str(each) for each in damage[:most]) + more
