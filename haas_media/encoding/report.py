"""What an encoding did, for people and for programs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream of the output: where it came from, and what it was and is."""

    kind: str
    input: Path
    index: int
    source: str
    result: str
    copied: bool


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What an encoding did.

    ``size`` in bytes; ``argv`` the command that was run; ``hardware`` what encoded, None for
    software; ``fallback`` why it was not the hardware that was asked for.
    """

    output: Path
    size: int
    duration: timedelta
    streams: tuple[StreamReport, ...]
    argv: tuple[str, ...]
    hardware: str | None
    fallback: str | None
    elapsed: timedelta
    warnings: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Count what was done, by name."""
        kinds = [stream.kind for stream in self.streams]
        return {
            "video": kinds.count("video"),
            "audio": kinds.count("audio"),
            "subtitles": kinds.count("subtitle"),
            "copied": sum(stream.copied for stream in self.streams),
            "bytes": self.size,
            "warnings": len(self.warnings) + (self.fallback is not None),
        }

    def table(self) -> list[dict[str, Any]]:
        """List the output's streams, a row each."""
        return [
            {
                "stream": position,
                "kind": stream.kind,
                "from": f"{stream.input.name} #{stream.index}",
                "was": stream.source,
                "is": stream.result + (" (copied)" if stream.copied else ""),
            }
            for position, stream in enumerate(self.streams)
        ]

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain data."""
        return {
            "output": str(self.output),
            "size": self.size,
            "duration": self.duration.total_seconds(),
            "elapsed": self.elapsed.total_seconds(),
            "hardware": self.hardware,
            "fallback": self.fallback,
            "warnings": list(self.warnings),
            "streams": self.table(),
            "argv": list(self.argv),
        }

    def to_markdown(self) -> str:
        """Write the report as a page."""
        speed = self.duration / self.elapsed if self.elapsed else 0.0
        lines = [
            f"# {_inline(self.output.name)}",
            "",
            f"{_size(self.size)}, {_clock(self.duration)} long, encoded in {_clock(self.elapsed)} "
            f"({speed:.1f} times real time) {self._with_what()}.",
            "",
        ]
        said = ([self.fallback] if self.fallback else []) + list(self.warnings)
        if said:
            lines += [*(f"- {_inline(sentence)}" for sentence in said), ""]
        lines += ["| # | kind | from | was | is |", "|---|---|---|---|---|"]
        for row in self.table():
            lines.append("| " + " | ".join(_inline(str(cell)) for cell in row.values()) + " |")
        lines += ["", "The command:", "", *_fenced(shlex.join(self.argv)), ""]
        return "\n".join(lines)

    def _with_what(self) -> str:
        return f"by {self.hardware}" if self.hardware else "in software"


def _inline(text: str) -> str:
    """Keep names from being read as Markdown."""
    plain = printable(text).replace("\n", "⏎")
    for character in "\\`*_|<>[]#":
        plain = plain.replace(character, "\\" + character)
    return plain


def printable(text: str) -> str:
    """Replace what is not Unicode in an old file name."""
    return text.encode("utf-8", "replace").decode()


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + "sh", printable(text), fence]


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _clock(length: timedelta) -> str:
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
