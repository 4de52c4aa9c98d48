"""Taking over what processes that are gone have left in their journals.

Their spans go to the outbox. The start records of runs that have not ended stay, in one file for
each process, until somebody knows how they ended.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from haas_otel.delivery.journal import is_span, put_aside, read_all, segments, still_open
from haas_otel.delivery.owner import FOLDER, claimed, is_alive, lock_of, owners

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from haas_otel.delivery.outbox import Outbox

_logger = logging.getLogger(__name__)


def adopt(directory: Path, outbox: Outbox) -> int:
    """Move the journals of dead processes to the outbox.

    Returns how many undelivered spans the outbox dropped for that. May be done by several processes
    at once: what is there already is ignored. Raises OutboxUnusable or OSError; then what was not
    moved is still where it was.
    """
    dropped = 0
    # Listed before they are looked at: a process that begins now is not taken for dead.
    for owner_id in owners(directory):
        if is_alive(directory, owner_id):
            continue
        found = segments(directory, owner_id)
        if not found and _open_path(directory, owner_id).exists():
            continue
        with claimed(directory, owner_id) as mine:
            if mine:
                dropped += _adopt_one(directory, owner_id, outbox)
    return dropped


def open_records(directory: Path, owner_id: str) -> dict[str, Any]:
    """Return the open start records of a process, by key; of a living one those until now."""
    starts: dict[str, str] = {}
    with suppress(FileNotFoundError):
        still_open(_open_path(directory, owner_id).read_text().splitlines(), starts)
    for path in segments(directory, owner_id):
        with suppress(FileNotFoundError):
            for lines in read_all(path):
                still_open(lines, starts)
    records = {}
    for key, text in starts.items():
        with suppress(ValueError):
            records[key] = json.loads(text)
    return records


def last_sign(directory: Path, owner_id: str) -> int:
    """Return when a process gave its last sign of life, in ns since the epoch."""
    moments = [0]
    for path in (lock_of(directory, owner_id), *segments(directory, owner_id)):
        with suppress(FileNotFoundError):
            moments.append(path.stat().st_mtime_ns)
    return max(moments)


def close_records(directory: Path, owner_id: str, keys: Collection[str]) -> None:
    """Remove start records of a dead process; with the claim on it held, after its adoption."""
    left = {k: r for k, r in open_records(directory, owner_id).items() if k not in keys}
    _keep_open(directory, owner_id, {key: json.dumps(record) for key, record in left.items()})


def with_open_records(directory: Path) -> Iterator[str]:
    """Yield the ids of dead processes whose runs have not all ended."""
    for owner_id in owners(directory):
        if _open_path(directory, owner_id).exists() and not is_alive(directory, owner_id):
            yield owner_id


def _adopt_one(directory: Path, owner_id: str, outbox: Outbox) -> int:
    found = segments(directory, owner_id)
    starts: dict[str, str] = {}
    with suppress(FileNotFoundError):
        still_open(_open_path(directory, owner_id).read_text().splitlines(), starts)
    rejected: dict[Path, int] = {}
    dropped = 0
    for path in found:
        for lines in read_all(path):
            still_open(lines, starts)
            added = outbox.add([line for line in lines if is_span(line)])
            rejected[path] = rejected.get(path, 0) + added.rejected
            dropped += added.dropped
    _keep_open(directory, owner_id, starts)
    for path in found:
        if rejected.get(path):
            kept = put_aside(path)
            _logger.warning("%d lines are no spans; they are kept in %s", rejected[path], kept)
        else:
            path.unlink(missing_ok=True)
    return dropped


def _keep_open(directory: Path, owner_id: str, starts: dict[str, str]) -> None:
    path, lock = _open_path(directory, owner_id), lock_of(directory, owner_id)
    if not starts:
        path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        return
    moment = last_sign(directory, owner_id)
    draft = path.with_name(f".{path.name}")
    draft.write_text("".join(f">{key}\t{record}\n" for key, record in starts.items()))
    draft.rename(path)
    if not lock.exists():
        lock.touch(mode=0o600)
    os.utime(lock, ns=(moment, moment))


def _open_path(directory: Path, owner_id: str) -> Path:
    return directory / FOLDER / f"{owner_id}.open"
