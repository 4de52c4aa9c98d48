"""Probing the files of a library that have not been probed yet."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import false, or_, select

from haas_media.catalog.dialects import table_of, update_many
from haas_media.catalog.models import MediaFile
from haas_media.pool import map_unordered
from haas_media.probe.streams import Probe, ProbeError, Unreadable, probe
from haas_media.scan.scan_report import FileReason

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.scan.scan_state import LibraryState, ScanState

# Reading waits for disks more than it computes.
_THREADS = 4
_BATCH = 100


def probe_files(state: ScanState) -> None:
    """Probe what has not been probed; store results as they come."""
    for each in state.online if state.settings.scan.probe else ():
        _probe_library(state, each)


def _probe_library(state: ScanState, each: LibraryState) -> None:
    # A file that was still written may look as it did when it is whole.
    again = MediaFile.probe_error.is_not(None) if state.refresh_existing else false()
    with state.catalog.reading() as session:
        rows = session.execute(
            select(MediaFile.id, MediaFile.path, MediaFile.size, MediaFile.mtime_ns)
            .where(
                MediaFile.library_id == each.row.id,
                or_(MediaFile.probed_at.is_(None), again),
                MediaFile.missing_since.is_(None),
            )
            .order_by(MediaFile.path)
        ).all()
    held = set(each.held)
    there = (row for row in rows if row.id not in held and not each.reach.is_away(row.path))
    todo: list[tuple[Any, ...]] = [tuple(row) for row in there]
    root = each.library.path
    results: list[dict[str, Any]] = []

    def run(row: tuple[Any, ...]) -> Probe:
        return probe(Path(root, row[1]))

    for number, (row, outcome) in enumerate(map_unordered(run, todo, _THREADS), 1):
        if isinstance(outcome, Exception) and not isinstance(outcome, ProbeError):
            raise outcome
        if isinstance(outcome, ProbeError):
            each.problems.append(FileReason(row[1], str(outcome)))
        found = {"id": row[0], "size": row[2], "mtime_ns": row[3]}
        results.append(found | _values(outcome))
        state.count(each, "probed")
        state.progress.report("probing", number / len(todo), row[1])
        if len(results) >= _BATCH:
            _store(state.catalog, results)
    _store(state.catalog, results)


def _store(catalog: Catalog, results: list[dict[str, Any]]) -> None:
    # Not if another scan has put a newer state of a file on record.
    write = partial(
        update_many, table=table_of(MediaFile), rows=results, by=("id", "size", "mtime_ns")
    )
    if results:
        catalog.write(write)
        results.clear()


def _values(outcome: Probe | ProbeError) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    if isinstance(outcome, ProbeError):
        # Rights and disks come back without the file changing, so the next scan tries again.
        probed_at = None if isinstance(outcome, Unreadable) else now
        return {
            "probed_at": probed_at,
            "probe_error": str(outcome),
            "container": None,
            "duration": None,
            "streams": None,
        }
    return {
        "probed_at": now,
        "probe_error": None,
        "container": outcome.container,
        "duration": outcome.duration,
        "streams": [stream.to_json() for stream in outcome.streams],
    }
