"""What waits in a folder of spans for its delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_otel.delivery.segments import Segment, paths_in

if TYPE_CHECKING:
    from pathlib import Path


def waiting(directory: Path) -> int:
    """Return for how many deliveries the spans of a folder wait."""
    segments = [Segment(path).read() for path in paths_in(directory)]
    return sum(len(items) for segment in segments for items in segment.waiting.values())


def has_failed(directory: Path) -> bool:
    """Say whether an exporter was tried, and has taken nothing."""
    return any("false" in path.read_text() for path in directory.glob("exporter-*.json"))
