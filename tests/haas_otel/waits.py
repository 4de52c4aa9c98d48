"""What waits in a folder of spans for its delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_otel.delivery.journal import Journal
from haas_otel.delivery.limits import Limits
from haas_otel.delivery.owner import FOLDER
from haas_otel.delivery.queue import Queue, read_lines

if TYPE_CHECKING:
    from pathlib import Path


def waiting(directory: Path) -> int:
    """Return for how many deliveries the spans of a folder wait."""
    count = 0
    queue = Queue(directory, Journal(directory), Limits(), ())
    for path in (directory / FOLDER).glob("*.jsonl"):
        for offset, line in read_lines(path, 0):
            names = line.decode().partition("\t")[0]
            if line[:1] in b"><" or not names:
                continue
            for key in names.split(","):
                progress = queue._progress(path, key)
                count += offset >= progress.position or offset in progress.left
    return count


def has_failed(directory: Path) -> bool:
    """Say whether an exporter was tried, and has taken nothing."""
    found = list(directory.glob("exporter-*.json"))
    return bool(found) or bool(list((directory / FOLDER).glob("*.sent")))
