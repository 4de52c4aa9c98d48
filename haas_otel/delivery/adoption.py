"""Taking over what processes that are gone have left in their journals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from haas_otel.delivery.journal import orphans, put_aside, read_orphan
from haas_otel.delivery.owner import sweep

if TYPE_CHECKING:
    from pathlib import Path

    from haas_otel.delivery.outbox import Outbox

_logger = logging.getLogger(__name__)


def adopt(directory: Path, outbox: Outbox) -> int:
    """Move the journals of dead processes to the outbox.

    Returns how many undelivered spans the outbox dropped for that. May be done by several processes
    at once: what is there already is ignored. Raises OutboxUnusable or OSError; then what was not
    moved is still where it was.
    """
    sweep(directory)
    return sum(_adopt_one(path, outbox) for path in orphans(directory))


def _adopt_one(path: Path, outbox: Outbox) -> int:
    rejected = dropped = 0
    try:
        for lines in read_orphan(path):
            added = outbox.add(lines.texts)
            rejected += added.rejected
            dropped += added.dropped
        if rejected:
            kept = put_aside(path)
            _logger.warning("%d lines are no spans; they are kept in %s", rejected, kept)
        else:
            path.unlink()
    except FileNotFoundError:
        _logger.debug("another process was first to take over %s", path)
    return dropped
