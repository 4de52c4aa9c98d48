"""What an encoding did, for people and for programs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from haas_media.markdown import Report, escaped
from haas_media.wording import clean_text, lasted

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.encoding.quality import Found


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
class EncodeReport(Report):
    """What an encoding did.

    ``size`` and ``source_size`` in bytes; ``argv`` the command that was run; ``hardware`` what
    encoded, None for software; ``fallback`` why it was not the hardware that was asked for;
    ``notes`` say what was done on purpose, ``warnings`` what was lost; ``quality`` how the crf
    was found; ``verified`` how long verifying took.
    """

    heading = "Encoding"

    output: Path
    size: int
    duration: timedelta
    streams: tuple[StreamReport, ...]
    argv: tuple[str, ...]
    hardware: str | None
    fallback: str | None
    elapsed: timedelta
    warnings: tuple[str, ...]
    source_size: int = 0
    notes: tuple[str, ...] = ()
    quality: Found | None = None
    verify: str = "quick"
    verified: timedelta = timedelta(0)

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

    def summary(self) -> str:
        """Say in a sentence what was done."""
        said = f"Encoded {self.output.name} in {_lasted(self.elapsed)}"
        if self.source_size:
            change = round(100 * (1 - self.size / self.source_size))
            than = "smaller" if self.size <= self.source_size else "larger"
            said += f", {abs(change)} % {than} than its source of {decimal(self.source_size)}"
        return f"{said}."

    def before_table(self) -> list[str]:
        """Say how large and long it is, and what there is to know of it."""
        speed = self.duration / self.elapsed if self.elapsed else 0.0
        how = f"by {self.hardware}" if self.hardware else "in software"
        long = f"{decimal(self.size)}, {_lasted(self.duration)} long"
        said = [
            f"{long}, {speed:.1f} times real time, {how}.",
            *([self.fallback] if self.fallback else []),
            *(*self.warnings, *self.notes),
        ]
        if self.verified:
            said.append(f"Verified ({self.verify}) in {_lasted(self.verified)}.")
        return [f"- {escaped(sentence)}" for sentence in said]

    def after_table(self) -> list[str]:
        """Show the command."""
        return ["", "The command:", "", *_fenced(shlex.join(self.argv))]


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + "sh", clean_text(text), fence]


def _lasted(length: timedelta) -> str:
    return lasted(length // timedelta(microseconds=1) * 1000)
