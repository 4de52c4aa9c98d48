"""Saying what changed files are, and writing them batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_media.catalog.library_rows import load_identities
from haas_media.identification.files import Identifier
from haas_media.scan.compare import FileChange, as_other_copy, says_otherwise
from haas_media.scan.scan_report import FileReason
from haas_media.scan.store import Batch, write_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from haas_media.identification.identity import Identity
    from haas_media.scan.scan_state import LibraryState, ScanState
    from haas_media.scan.walk import Listing

# Files in one transaction: enough to make its cost small, few enough that other writers get in.
_BATCH = 400


def identify(state: ScanState) -> None:
    """Identify what is new, changed or moved, or has another NFO file; write it all."""
    total = sum(len(changes) for each in state.online for _, changes in each.compared.folders)
    done = 0
    for each in state.online:
        identifier = Identifier(each.library.path, each.library.kind, each.walked.folder_nfos)
        before = _identities(state, each)
        batch = Batch()
        for listing, changes in each.compared.folders:
            _identify_folder(state, each, identifier, listing, changes, before)
            done += len(changes)
            state.progress.report("identifying", done / max(total, 1), listing.path)
            batch = _add(state, each, batch, listing, changes)
        _write(state, each, batch)


def _identities(state: ScanState, each: LibraryState) -> Mapping[int, Identity]:
    """Load what those files were taken for that may keep it."""
    known = [c.known.id for c in each.compared.changes if c.known and c.why in ("moved", "refresh")]
    with state.catalog.reading() as session:
        return load_identities(session, known)


def _identify_folder(
    state: ScanState,
    each: LibraryState,
    identifier: Identifier,
    listing: Listing,
    changes: list[FileChange],
    before: Mapping[int, Identity],
) -> None:
    names = {change.entry.name for change in changes if change.why != "beside"}
    state.count(each, "parsed", len(names))
    found = identifier.folder(
        listing.path,
        [video[0] for video in listing.videos],
        [nfo[0] for nfo in listing.nfos],
        names,
    )
    for change in changes:
        what = found.get(change.entry.name)
        if what is None:
            continue
        if what.note:
            each.problems.append(FileReason(change.path, what.note))
        # Rights and disks come back without a file changing, so the next scan looks again.
        change.recheck = what.unread
        listing.recheck |= what.unread
        known = change.known
        if what.unread and what.reason and known and known.belongs:
            each.problems.append(FileReason(change.path, what.reason))
        elif (
            known is None
            or change.why not in ("moved", "refresh")
            or says_otherwise(known, before[known.id], what, each.library.kind)
        ):
            change.found = what
        else:
            change.copy = as_other_copy(before[known.id], what)
            if change.why == "refresh" and known.belongs and not (what.reason or what.extra):
                change.says = what


def _add(
    state: ScanState,
    each: LibraryState,
    batch: Batch,
    listing: Listing,
    changes: list[FileChange],
) -> Batch:
    """Add a folder to a batch; write batches that are full, so that none is too large."""
    batch.folders.append(listing)
    for change in changes:
        if len(batch.files) >= _BATCH:
            _write(state, each, batch)
            batch = Batch(folders=[listing])
        batch.files.append(change)
    batch.done.add(listing.path)
    if len(batch.folders) >= _BATCH:
        _write(state, each, batch)
        batch = Batch()
    return batch


def _write(state: ScanState, each: LibraryState, batch: Batch) -> None:
    asks = state.provider is not None
    state.catalog.write(
        lambda session: write_batch(
            session, each.row.id, each.library.kind, batch, ask_provider=asks
        )
    )
