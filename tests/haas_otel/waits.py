"""What waits in a folder of spans for its delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_otel.delivery.journal import FOLDER
from haas_otel.delivery.segments import Segment

if TYPE_CHECKING:
    from pathlib import Path


def waiting(directory: Path) -> int:
    """Return for how many deliveries the spans of a folder wait."""
    count = 0
    for path in (directory / FOLDER).glob("*.jsonl"):
        keys = {key for names in Segment(path).read().names for key in names.split(",")}
        count += sum(len(Segment(path, key).read().waiting) for key in keys)
    return count


def has_failed(directory: Path) -> bool:
    """Say whether an exporter was tried, and has taken nothing."""
    return bool(list(directory.glob("exporter-*.json")))
