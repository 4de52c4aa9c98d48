"""A scan from beginning to end: its stages, in their order."""

from __future__ import annotations

import gc
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from haas_media.catalog import library_rows
from haas_media.catalog.dialects import chunked
from haas_media.catalog.locks import scanning
from haas_media.library.people import fetch_people_of_titles
from haas_media.places import Places
from haas_media.progress import PhasedProgress
from haas_media.scan.compare import Comparison, Moves, compare
from haas_media.scan.identify import identify
from haas_media.scan.lookup import look_up
from haas_media.scan.probing import probe_files
from haas_media.scan.scan_report import DONE, FileReason, LibraryReport, ScanReport
from haas_media.scan.scan_state import LibraryState, ScanState
from haas_media.scan.store import join_extras_to_titles
from haas_media.scan.walk import Scope, Walker
from haas_media.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy.orm import Session

    from haas_media.catalog.library_rows import KnownFile, Registered
    from haas_media.catalog.opening import Catalog
    from haas_media.progress import OnProgress
    from haas_media.providers.tmdb import TmdbClient
    from haas_media.settings import Library, Settings

# Where each phase begins and ends; the files' part ends at 0.7.
_PHASES = {
    "waiting": (0.0, 0.0),
    "walking": (0.0, 0.05),
    "identifying": (0.05, 0.25),
    "probing": (0.25, 0.45),
    "looking up": (0.45, 0.70),
    "people": (0.70, 1.0),
}


def scan(
    settings: Settings,
    catalog: Catalog,
    *,
    library: str | None = None,
    paths: Iterable[str] | None = None,
    refresh_existing: bool = False,
    provider: TmdbClient | None = None,
    on_progress: OnProgress | None = None,
    holder: str = "",
) -> ScanReport:
    """Scan the libraries and bring the catalog up to date.

    It can be interrupted or killed at any instant: the next scan carries on from there.

    Args:
        settings: which libraries there are, and where.
        library: the title of the only library to scan; none for all.
        paths: absolute paths of files and folders, there or not any more: only they are looked
            into. Those that are in no library are noted in the report.
        refresh_existing: read titles that are known already from the provider again, try again
            what could not be matched, and identify again what its name no longer says.
        provider: who is asked for titles; none to work from NFO files and names alone.
        on_progress: called at most ten times a second.
        holder: what this scan is called, for another one that has to wait for its libraries.

    Raises:
        SettingsError: the library is not known, or a root is not a folder.
        ProviderRefused: the provider refuses the credentials.
    """
    libraries = (settings.library(library),) if library is not None else settings.libraries
    shared, outside = Places(libraries).share(paths or ())
    if paths is not None:
        libraries = tuple(each for each in libraries if each.title in shared)
    for each in libraries:
        each.check_root()
    start = time.monotonic()
    requests_before = provider.requests_made if provider else 0
    progress = PhasedProgress(on_progress, _PHASES)
    state = ScanState(settings, catalog, provider, refresh_existing, progress)
    state.notes = [f"{shown_path(path)} is in no library." for path in outside]
    register = partial(library_rows.register, libraries=libraries, all_set=settings.libraries)
    rows = catalog.write(register)
    titles = {row.id: library.title for row, library in zip(rows, libraries, strict=True)}
    last_scanned = {row.id: row.last_scanned for row in rows}
    with scanning(
        catalog, titles, holder or f"process {os.getpid()}", partial(progress.report, "waiting", 0)
    ):
        # Once more: another scan may have written while this one waited for it.
        rows = catalog.write(register)
        state.libraries = [
            LibraryState(
                each,
                row,
                _scope(each, row, shared.get(each.title)),
                last_scanned=last_scanned.get(row.id),
            )
            for each, row in zip(libraries, rows, strict=True)
        ]
        for stage in (
            walk_libraries,
            compare_with_catalog,
            find_moves,
            identify,
            remove_what_is_gone,
            probe_files,
            look_up,
            join_extras,
            read_people,
        ):
            stage(state)
        reports = tuple(_report(state, each) for each in state.libraries)
    progress.finish()
    return ScanReport(
        libraries=reports,
        requests=(provider.requests_made if provider else 0) - requests_before,
        looked_up=state.looked_up,
        people=state.people,
        duration=time.monotonic() - start,
        notes=tuple(state.notes),
    )


def _scope(library: Library, row: Registered, paths: Mapping[str, str] | None) -> Scope:
    # A library that is not yet on record as it is set has to be seen as a whole.
    as_set = row.last_scanned and row.path == str(library.path) and not row.other_kind
    return Scope(str(library.path), paths.values() if paths and as_set else None)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Leave garbage alone for a while: the collector looks at every new record again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_without_collecting()
def walk_libraries(state: ScanState) -> None:
    """See what is there, and which folders look other than they did."""
    for place, each in enumerate(state.libraries):
        with state.catalog.reading() as session:
            each.on_record = library_rows.count_present(session, each.row.id)
            each.known = library_rows.known_folders(session, each.row.id)
        before = sum(other.walked.found for other in state.libraries[:place])

        def report(path: str, found: int, each: LibraryState = each, before: int = before) -> None:
            state.progress.counts["found"] = before + found
            share = min(1.0, found / each.on_record) if each.on_record else 0.5
            total = len(state.libraries)
            state.progress.report("walking", (state.libraries.index(each) + share) / total, path)

        each.walked = Walker(
            each.reach,
            each.known,
            each.scope,
            kind=each.library.kind,
            others=[other for other in state.settings.libraries if other != each.library],
            recheck=state.refresh_existing or each.row.other_kind,
            on_folder=report,
        ).run()
        report("", each.walked.found)
        if each.scope.whole or each.walked.is_bare:
            each.reach.check_root(each.walked.found, each.on_record)


@_without_collecting()
def compare_with_catalog(state: ScanState) -> None:
    """Say of each file whether it has changed, and what is gone."""
    taking_over = {each.library.title for each in state.online if each.scope.whole}
    for each in state.online:
        others = each.walked.of_others
        each.reach.keep(path for path, title in others.items() if title not in taking_over)
        each.reach.check_disks(each.known)
        _compare(state, each)
        if each.row.path == str(each.library.path):
            # A part of it does not tell whether most is there.
            looked_for = each.on_record if each.scope.whole else 0
            each.reach.check_mount(each.row.mount, len(each.compared.gone), looked_for)
        if each.reach.offline is not None:
            each.compared = Comparison()
        elif each.row.other_kind:
            state.catalog.write(partial(library_rows.identify_again, library_id=each.row.id))
            _compare(state, each)
    for each in state.libraries:
        each.counts["found"] = each.walked.found
        for name, number in each.compared.counts.items():
            state.count(each, name, number)


def _compare(state: ScanState, each: LibraryState) -> None:
    with state.catalog.reading() as session:
        each.compared = compare(
            session,
            each.row.id,
            each.known,
            each.walked,
            each.reach,
            each.scope,
            refresh=state.refresh_existing,
        )


def find_moves(state: ScanState) -> None:
    """Find those new files that are gone elsewhere."""
    moves = Moves()
    for each in state.online:
        moves.add(each.compared.gone, each.library.kind)
    new = [
        (each, change)
        for each in state.online
        for change in each.compared.changes
        if not change.known
    ]
    if new:
        with state.catalog.reading() as session:
            moves.borrow(
                session,
                [each.row.id for each in state.libraries if each.scope.whole],
                [library.title for library in state.settings.libraries],
                sorted({change.entry.size for _, change in new}),
            )
    for each, change in new:
        path = f"{each.library.path}/{change.path}"
        change.known = moves.take(change.entry, each.library.kind, each.row.id, path)
        if change.known:
            change.why = "moved"
            state.count(each, "new", -1)
            state.count(each, "moved")
    for each in state.online:
        each.gone = moves.left(each.row.id)


def remove_what_is_gone(state: ScanState) -> None:
    """Take off the record what is surely gone; folders go with their files."""
    for each in state.online:
        gone, on_record = _gone_before(state, each)
        gone, held = each.reach.hold_back(gone, on_record, again=each.scope.whole)
        each.held = [file.id for file in held if not file.missing]
        delete = partial(library_rows.delete_files, library_id=each.row.id)
        for chunk in chunked([file.id for file in gone]):
            state.catalog.write(partial(delete, file_ids=chunk))
        for chunk in chunked(each.compared.gone_folders):
            state.catalog.write(partial(library_rows.delete_folders, folder_ids=chunk))
        state.count(each, "removed", len(gone))


def _gone_before(state: ScanState, each: LibraryState) -> tuple[list[KnownFile], int]:
    """Return what is gone and how many files there were, as the last scan that ended left it.

    One that was cut off, or that this one had to wait for, has seen no more than this one does.
    """
    if not each.gone:
        return [], 0
    with state.catalog.reading() as session:
        others = library_rows.missing_since(session, each.row.id, state.begun)
        on_record = library_rows.count_present(session, each.row.id)
        on_record -= library_rows.count_added(session, each.row.id, each.last_scanned)
    # What has moved here was not, nor what is new by a clock that was ahead.
    on_record = min(on_record, each.on_record) + len(others)
    gone = [file._replace(missing=False) if file.id in others else file for file in each.gone]
    return gone, on_record


def join_extras(state: ScanState) -> None:
    """Give extras to titles that were not known when they were found."""
    if not state.looked_up and not any(each.counts["parsed"] for each in state.online):
        return
    for each in state.online:  # their titles may be those of another library's files
        join = partial(join_extras_to_titles, library_id=each.row.id, kind=each.library.kind)
        state.catalog.write(join)


def read_people(state: ScanState) -> None:
    """Read details of the people in titles whose records are new."""
    if state.provider is None:
        return
    state.people = fetch_people_of_titles(
        state.catalog,
        state.provider,
        threads=state.settings.tmdb.max_concurrent,
        on_progress=lambda done: state.progress.report("people", done.fraction, done.current),
    ).fetched


def _report(state: ScanState, each: LibraryState) -> LibraryReport:
    offline = each.reach.offline
    mark = partial(library_rows.mark, library_id=each.row.id, library=each.library)
    mount = each.reach.mount

    def end(session: Session) -> None:
        # Not before: of a scan that is cut off it is not known what the next one finds again.
        for chunk in chunked(each.held):
            library_rows.mark_missing(session, chunk)
        if each.scope.whole:
            mark(session, offline=offline, mount=mount)

    state.catalog.write(end)
    with state.catalog.reading() as session:
        states = library_rows.count_states(session, each.row.id)
        unmatched = library_rows.list_unmatched(session, each.row.id)
    problems = each.problems + ([] if offline else each.reach.report())
    return LibraryReport(
        title=each.library.title,
        kind=each.library.kind,
        online=offline is None,
        offline_reason=offline,
        **{name: each.counts[name] for name in DONE},
        matched=states["matched"],
        unmatched=states["unmatched"],
        pending=states["pending"],
        extras=states["extra"],
        unmatched_files=tuple(FileReason(shown_path(path), why) for path, why in unmatched),
        problems=tuple(replace(each, path=shown_path(each.path)) for each in problems),
    )
