"""One scan from beginning to end."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import func, select

from haas_media.catalog.models import MediaFile
from haas_media.scan.diff import Diff, FolderPlan, Moves, diff, keep_unmounted, known_folders
from haas_media.scan.identification import Identifier
from haas_media.scan.lookup import Looked, look_up
from haas_media.scan.meter import Meter
from haas_media.scan.moving import new_identification
from haas_media.scan.records import (
    count_states,
    delete_files,
    delete_folders,
    forget_identifications,
    list_unmatched,
    mark,
    register,
    shown,
)
from haas_media.scan.report import DONE, FileReason, LibraryReport, ScanReport
from haas_media.scan.sidecars import sidecars_of
from haas_media.scan.store import Batch, FileWork, write_batch
from haas_media.scan.walk import Walk, walk
from haas_media.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from haas_media.catalog.opening import Catalog
    from haas_media.progress import OnProgress
    from haas_media.providers.records import Provider
    from haas_media.scan.walk import Entry, Listing
    from haas_media.settings import Library, Settings

# Files in one transaction: enough to make its cost small, few enough that other writers get in.
_BATCH = 400
_CHUNK = 500

T = TypeVar("T")


@dataclass(slots=True)
class LibraryScan:
    """The state of one library during a scan."""

    library: Library
    id: int
    other_kind: bool = False
    walked: Walk = field(default_factory=Walk)
    todo: Diff = field(default_factory=Diff)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[FileReason] = field(default_factory=list)

    @property
    def offline(self) -> str | None:
        """Why the library is offline, if it is."""
        return self.walked.offline


class Scan:
    """One scan. See ``haas_media.scan.scan``."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        libraries: Iterable[Library],
        refresh_existing: bool,
        provider: Provider | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._libraries = tuple(libraries)
        self._refresh_existing = refresh_existing
        self._provider = provider
        self._counts: Counter[str] = Counter()
        self._meter = Meter(on_progress, self._counts)

    def run(self) -> ScanReport:
        """Do it all."""
        start = time.monotonic()
        requests_before = self._provider.requests_made if self._provider else 0
        scans = [self._register(library) for library in self._libraries]
        for each in scans:
            self._walk(each, scans)
        online = [each for each in scans if each.offline is None]
        self._identify(online)
        self._probe(online)
        looked, people = self._ask_provider(online)
        reports = tuple(self._finish(each) for each in scans)
        self._meter.finish()
        return ScanReport(
            libraries=reports,
            requests=(self._provider.requests_made if self._provider else 0) - requests_before,
            looked_up=looked.titles,
            people=people,
            duration=time.monotonic() - start,
            notes=tuple(looked.notes),
        )

    def _register(self, library: Library) -> LibraryScan:
        titles = [each.title for each in self._settings.libraries]
        row = self._catalog.write(partial(register, library=library, titles=titles))
        return LibraryScan(library, row.id, row.other_kind)

    # Walking

    def _walk(self, each: LibraryScan, scans: list[LibraryScan]) -> None:
        with self._catalog.reading() as session:
            known = known_folders(session, each.id)
            on_record: int = (
                session.scalar(select(func.count()).where(MediaFile.library_id == each.id)) or 0
            )
        if self._refresh_existing or each.other_kind:  # look at every file
            known = {path: folder._replace(signature="") for path, folder in known.items()}
        place = scans.index(each)

        def tell(path: str, found: int) -> None:
            self._counts["found"] = sum(scan.walked.found for scan in scans[:place]) + found
            share = min(1.0, found / max(on_record, 1)) if on_record else 0.5
            self._meter.tell("walking", (place + share) / len(scans), path)

        each.walked = walk(
            each.library.path,
            known,
            kind=each.library.kind,
            excluded=[library.path for library in self._settings.libraries],
            on_folder=tell,
        )
        if each.walked.offline is None and each.walked.found == 0 and on_record:
            known_files = counted(on_record, "file is", "files are")
            each.walked.offline = f"its folder is empty, but {known_files} on record"
        if each.walked.offline is None:
            keep_unmounted(each.library.path, known, each.walked)
            if each.other_kind:
                self._catalog.write(partial(forget_identifications, library_id=each.id))
                known = {path: folder._replace(nfo_signature="?") for path, folder in known.items()}
            with self._catalog.reading() as session:
                each.todo = diff(session, each.id, known, each.walked)
        tell("", each.walked.found)
        each.counts["found"] = each.walked.found
        each.counts["unchanged"] = each.walked.unchanged
        each.problems += [FileReason(shown(path), why) for path, why in each.walked.problems]

    # Identifying

    def _identify(self, scans: list[LibraryScan]) -> None:
        moves = Moves((file, each.library.kind) for each in scans for file in each.todo.gone)
        total = sum(len(plan.listing.videos) for each in scans for plan in each.todo.plans)
        done = 0
        for each in scans:
            identifier = Identifier(each.library.path, each.library.kind, each.walked.folder_nfos)
            batch = Batch()
            for plan in each.todo.plans:
                works = self._plan_folder(each, plan, identifier, moves)
                done += len(plan.listing.videos)
                self._meter.tell("identifying", done / max(total, 1), plan.listing.path)
                batch = self._add(each, batch, plan.listing, works)
            self._write(each, batch)
        self._remove(scans, moves)

    def _add(
        self, each: LibraryScan, batch: Batch, listing: Listing, works: list[FileWork]
    ) -> Batch:
        """Add a folder to a batch; write batches that are full, so that none is too large."""
        batch.folders.append(listing)
        for work in works:
            if len(batch.files) >= _BATCH:
                self._write(each, batch)
                batch = Batch(folders=[listing])
            batch.files.append(work)
        batch.done.add(listing.path)
        if len(batch.folders) >= _BATCH:
            self._write(each, batch)
            batch = Batch()
        return batch

    def _plan_folder(
        self, each: LibraryScan, plan: FolderPlan, identifier: Identifier, moves: Moves
    ) -> list[FileWork]:
        """Say what has to be written of the files of a folder."""
        listing = plan.listing
        changed = []
        works = {video.name: self._work(each, plan, video, moves) for video in listing.videos}
        asked = {name for name, (_, why) in works.items() if why}
        found = identifier.folder(listing, asked) if asked else {}
        each.counts["parsed"] += len(asked)
        self._counts["parsed"] += len(asked)
        if any(one.unread for one in found.values()):
            # Rights and disks come back without a file changing, so the next scan looks again.
            listing.signature, listing.nfo_signature = "", "?"
        sidecars = sidecars_of(listing)
        for name, (work, why) in works.items():
            work.sidecars = sidecars[name]
            work.found = found.get(name)
            if work.found and work.found.note:
                each.problems.append(FileReason(shown(work.path), work.found.note))
            reason = work.found.reason if work.found and work.found.unread else None
            if reason and work.before and work.before.belongs:
                each.problems.append(FileReason(shown(work.path), reason))
                work.found = None
            if why == "moved" and work.found:
                work.found = new_identification(work.before, work.found) if work.before else None
            unchanged = not why and work.before and work.before.sidecars == work.sidecars
            if not unchanged:
                changed.append(work)
        return changed

    def _work(
        self, each: LibraryScan, plan: FolderPlan, video: Entry, moves: Moves
    ) -> tuple[FileWork, str]:
        """Say what is to be done with a file, and why: new, changed, moved, again or nothing."""
        folder = plan.listing.path
        path = f"{folder}/{video.name}" if folder else video.name
        known = plan.known.get(video.name)
        if known is None:
            moved = moves.take(video, each.library.kind, each.id)
            why = "moved" if moved else "new"
            work = FileWork(path, folder, video, moved.id if moved else None, before=moved)
            work.moved, work.fresh = bool(moved), not moved
        else:
            same = (known.size, known.mtime_ns) == (video.size, video.mtime_ns)
            again = (
                plan.nfo_changed or (self._refresh_existing and known.state == "unmatched")
            ) and not known.dismissed
            why = "changed" if not same else "again" if again else ""
            work = FileWork(path, folder, video, known.id, fresh=not same, before=known)
        counted = why if why in ("new", "changed", "moved") else "unchanged"
        each.counts[counted] += 1
        self._counts[counted] += 1
        return work, why

    def _write(self, each: LibraryScan, batch: Batch) -> None:
        self._catalog.write(
            lambda session: write_batch(
                session,
                each.id,
                each.library.kind,
                batch,
                ask_provider=self._provider is not None,
            )
        )

    def _remove(self, scans: list[LibraryScan], moves: Moves) -> None:
        left = moves.left()
        for each in scans:
            files = sorted((file.id, file.path) for file in left if file.library_id == each.id)
            each.counts["removed"] = len(files)
            self._counts["removed"] += len(files)
            for chunk in _chunks(files):
                self._catalog.write(partial(delete_files, files=chunk))
            for folders in _chunks(sorted(each.todo.gone_folders)):
                self._catalog.write(partial(delete_folders, folder_ids=folders))

    # Probing and asking

    def _probe(self, scans: list[LibraryScan]) -> None:
        if not self._settings.scan.probe:
            return
        from haas_media.scan.probing import probe_files

        for each in scans:
            probe_files(self._catalog, each, self._meter, self._counts)

    def _ask_provider(self, scans: list[LibraryScan]) -> tuple[Looked, int]:
        if self._provider is None:
            return Looked(), 0
        from haas_media.scan.people import read_people

        looked = look_up(
            self._catalog,
            self._provider,
            [each.id for each in scans],
            refresh=self._refresh_existing,
            threads=self._settings.tmdb.max_concurrent,
            tell=partial(self._tell, "looking up"),
        )
        self._counts["looked up"] = looked.titles
        read = read_people(
            self._catalog,
            self._provider,
            threads=self._settings.tmdb.max_concurrent,
            tell=partial(self._tell, "people"),
        )
        return looked, read

    def _tell(self, phase: str, share: float, current: str) -> None:
        self._meter.tell(phase, share, current)

    # Ending

    def _finish(self, each: LibraryScan) -> LibraryReport:
        self._catalog.write(
            partial(mark, library_id=each.id, library=each.library, offline=each.offline)
        )
        with self._catalog.reading() as session:
            states = count_states(session, each.id)
            unmatched = list_unmatched(session, each.id)
        return LibraryReport(
            title=each.library.title,
            kind=each.library.kind,
            online=each.offline is None,
            offline_reason=each.offline,
            **{name: each.counts[name] for name in DONE},
            matched=states["matched"],
            unmatched=states["unmatched"],
            pending=states["pending"],
            extras=states["extra"],
            unmatched_files=unmatched,
            problems=tuple(each.problems),
        )


def _chunks(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
