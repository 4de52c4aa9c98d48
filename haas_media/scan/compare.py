"""What has changed since the last scan, and why: the only place that decides it.

A folder that looks as it did is not looked into. In the others, a file is *new*, *changed* (other
size or time), *moved* (it is gone elsewhere, see ``Moves``), to be identified *again* (an NFO file
that bears on it has changed, or could not be read), to be *refreshed* because somebody wants that,
or it has other files *beside* it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import Text, cast, select

from haas_media.catalog.dialects import chunked
from haas_media.catalog.library_rows import KnownFile, KnownFolder, load_files
from haas_media.catalog.models import Folder, Library, MediaFile, match_key
from haas_media.identification import Identity
from haas_media.identification.files import identify_name
from haas_media.identification.sidecars import folded, sidecars_of, stem_of
from haas_media.mounts import is_mounted, mount_of
from haas_media.scan.offline import is_deleted
from haas_media.scan.walk import Entry, Walk, digest, is_bare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from haas_media.scan.offline import Reach
    from haas_media.scan.walk import Found, Listing, Scope
    from haas_media.settings import Kind

# A folder of more videos is not compared file by file where nothing but what is beside some of them
# has changed.
_LARGE = 1000

Why = Literal["new", "changed", "moved", "again", "refresh", "beside"]


@dataclass(slots=True)
class FileChange:
    """A file that is to be written, and why; ``known`` is what is on record of it.

    ``found`` is what it is taken for now; none leaves that as it is, but for what ``copy`` says: of
    which edition, version and part of its title it is a copy. ``says`` is what its path and NFO
    files say, where that is to lead to its title. ``recheck`` says that the next scan is to look at
    it again.
    """

    path: str
    folder: str
    entry: Entry
    why: Why
    known: KnownFile | None = None
    sidecars: list[dict[str, Any]] = field(default_factory=list)
    nfo_signature: str = ""
    found: Identity | None = None
    copy: Identity | None = None
    says: Identity | None = None
    recheck: bool = False


@dataclass(slots=True)
class Comparison:
    """What differs in one library: files of changed folders, and what is gone."""

    folders: list[tuple[Listing, list[FileChange]]] = field(default_factory=list)
    gone: list[KnownFile] = field(default_factory=list)
    gone_folders: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def changes(self) -> Iterator[FileChange]:
        """All files that are to be written."""
        return (change for _, changes in self.folders for change in changes)


def compare(
    session: Session,
    library_id: int,
    known: Mapping[str, KnownFolder],
    walk: Walk,
    reach: Reach,
    scope: Scope,
    *,
    refresh: bool = False,
) -> Comparison:
    """Compare a walk with the catalog.

    Args:
        known: its folders on record, by path.
        reach: what nothing is taken for gone of.
        scope: the part of it that the walk was about.
        refresh: look at files that have not changed, too.
    """
    result = Comparison(counts=Counter(unchanged=walk.unchanged))
    unseen = {
        folder.id for path, folder in known.items() if path not in walk.seen and scope.has(path)
    }
    on_record = [(known[each.path], each) for each in walk.changed if each.path in known]
    large = {each.path for row, each in on_record if _needs_few(row, each)}
    changed = [row.id for row, each in on_record if each.path not in large]
    by_folder = defaultdict(list)
    for file in _files_to_compare(session, library_id, [*changed, *unseen], scope):
        by_folder[file.path.rpartition("/")[0]].append(file)
    reach.find_disks(*_of_disks(known, walk, by_folder))
    kept = set()
    for listing in sorted(walk.changed, key=lambda listing: listing.path):
        folder, beside, videos = known.get(listing.path), _beside(listing), listing.videos
        loaded = by_folder.pop(listing.path, [])
        if folder and listing.path in large:
            loaded += _files_with_others(session, library_id, folder.id, listing.path, beside)
        files = {file.path.rpartition("/")[2]: file for file in loaded}
        if listing.path in large:
            videos = [video for video in videos if video[0] in files]
        again = folder is not None and folder.nfo_signature != listing.nfo_signature
        changes = _changes(listing.path, videos, beside, files, again=again, refresh=refresh)
        # The disk of files that are not there has to be known until they are back, or removed.
        if folder and folder.mount is not None and (files or reach.disk_is_away(listing.path)):
            listing.mount = folder.mount
        result.folders.append((listing, changes))
        result.counts.update(c.why if c.why in ("new", "changed") else "unchanged" for c in changes)
        result.counts["unchanged"] += len(listing.videos) - len(changes)
        by_folder[listing.path] = [*files.values()]
    for left in by_folder.values():
        for file in left:
            if not reach.keeps(file.path):
                result.gone.append(file)
            elif file.folder_id:
                kept.add(file.folder_id)
    result.gone_folders = sorted(unseen - kept)
    return result


def _of_disks(
    known: Mapping[str, KnownFolder], walk: Walk, files: Mapping[str, Sequence[KnownFile]]
) -> tuple[Counter[str], Counter[str]]:
    """Count files by where their disk was mounted: those that are there, and all on record."""
    seen: Counter[str] = Counter()
    on_record: Counter[str] = Counter()
    for folder in known.values():
        if folder.mount:
            on_record[folder.mount] += folder.files
    for listing in walk.changed if on_record else ():
        if (mount := known[listing.path].mount if listing.path in known else None) is not None:
            there = {video[0] for video in listing.videos}
            loaded = files.get(listing.path, ())
            seen[mount] += sum(file.path.rpartition("/")[2] in there for file in loaded)
    return seen, on_record


class _Beside(NamedTuple):
    """What lies beside the videos of a folder, by their names: other files, a sum of NFO files."""

    sidecars: defaultdict[str, list[dict[str, Any]]]
    nfos: dict[str, str]


def _beside(listing: Listing) -> _Beside:
    nfos = {stem_of(nfo[0]): digest(str(Entry.of(nfo))) for nfo in listing.nfos}
    others = [*listing.sidecars, *(nfo[0] for nfo in listing.nfos)]
    names = [video[0] for video in listing.videos] if others else []
    stems = [stem_of(name) for name in names]
    of_videos = zip(names, stems, strict=True)
    return _Beside(
        sidecars_of(dict(zip(stems, names, strict=True)), others),
        {name: nfos[stem] for name, stem in of_videos if stem in nfos},
    )


def _needs_few(folder: KnownFolder, listing: Listing) -> bool:
    """Tell whether few files of a large folder can differ: those with something beside them."""
    same = listing.same_videos and folder.nfo_signature == listing.nfo_signature
    return same and len(listing.videos) > _LARGE


def _changes(
    folder: str,
    videos: Found,
    beside: _Beside,
    files: dict[str, KnownFile],
    *,
    again: bool,
    refresh: bool,
) -> list[FileChange]:
    """Compare the files of a folder; leave in ``files`` those that are not there."""
    changes = []
    for entry in map(Entry.of, videos):
        name = entry.name
        known = files.pop(name, None)
        nfo = beside.nfos.get(name, "")
        why = _why(entry, known, beside.sidecars.get(name), nfo, again)
        if refresh and known and why in (None, "beside") and not known.dismissed:
            why = "refresh"
        if why:
            path = f"{folder}/{name}" if folder else name
            found = beside.sidecars[name], nfo
            changes.append(FileChange(path, folder, entry, why, known, *found))
    return changes


def _why(
    entry: Entry,
    known: KnownFile | None,
    sidecars: list[dict[str, Any]] | None,
    nfo: str,
    again: bool,
) -> Why | None:
    if known is None:
        return "new"
    if (known.size, known.mtime_ns) != (entry.size, entry.mtime_ns):
        return "changed"
    if (again or known.recheck or known.nfo_signature != nfo) and not known.dismissed:
        return "again"
    as_kept = json.dumps(sidecars) if sidecars else "[]"
    return "beside" if known.sidecars != as_kept or known.missing else None


def _files_to_compare(
    session: Session, library_id: int, folder_ids: list[int], scope: Scope
) -> Iterator[KnownFile]:
    """Load the files of these folders, and those of removed titles that were not there."""
    # Of all libraries: with a condition on theirs SQLite would look at every file there is.
    for file in load_files(session, MediaFile.folder_id.is_(None)):
        if file.library_id == library_id and scope.has(file.path.rpartition("/")[0]):
            yield file
    for chunk in chunked(folder_ids):
        yield from load_files(session, MediaFile.folder_id.in_(chunk))


def _files_with_others(
    session: Session, library_id: int, folder_id: int, folder: str, beside: _Beside
) -> Iterator[KnownFile]:
    """Load those files of a folder that had something beside them, or have it now."""
    # An NFO file is one of them. A folder of files that wait for a scan waits for one itself.
    had = cast(MediaFile.sidecars, Text) != "[]"
    yield from load_files(session, (MediaFile.folder_id == folder_id) & had)
    names = sorted({*beside.sidecars, *beside.nfos})
    for chunk in chunked([f"{folder}/{name}" if folder else name for name in names]):
        here = (MediaFile.library_id == library_id) & MediaFile.path.in_(chunk)
        yield from load_files(session, here & ~had)


# Moves


class _Lender(NamedTuple):
    """A library that is not scanned now: where it is, and whether the settings still have it.

    ``disks`` are those below its root, by the ids of the folders that are on them.
    """

    path: str
    mount: str | None
    is_set: bool
    disks: Mapping[int, str]


class Moves:
    """Finds where files went that are gone from where they were.

    A file has moved when one of the same size, time and name (in whatever case), or the same file
    by its inode, is new elsewhere in a library of the same kind. Libraries that are not scanned
    now, or only in part, lend their files, too: those that left the settings all of them, others
    what is surely gone, or in a folder that is another library now.
    """

    def __init__(self) -> None:
        self._gone: defaultdict[tuple[int, int, Kind], list[KnownFile]] = defaultdict(list)
        self._ids: set[int] = set()
        self._lenders: dict[int, _Lender] = {}

    def add(self, files: Iterable[KnownFile], kind: Kind) -> None:
        """Take files that are gone from a library of this kind."""
        for file in files:
            self._gone[file.size, file.mtime_ns, kind].append(file)
            self._ids.add(file.id)

    def borrow(
        self, session: Session, scanned: Iterable[int], titles: Iterable[str], sizes: Sequence[int]
    ) -> None:
        """Take files of these sizes from the libraries that are not scanned now as a whole."""
        others = select(Library).where(Library.id.not_in(list(scanned)))
        titles = set(titles)
        for library in session.scalars(others):
            on_disks = (Folder.library_id == library.id) & Folder.mount.is_not(None)
            folders = select(Folder.id, Folder.mount).where(on_disks)
            disks = {row.id: row.mount or "" for row in session.execute(folders)}
            lender = _Lender(library.path, library.mount, library.title in titles, disks)
            self._lenders[library.id] = lender
            kind: Any = library.kind
            for chunk in chunked(sizes):
                lent = (MediaFile.library_id == library.id) & MediaFile.size.in_(chunk)
                for file in load_files(session, lent):
                    if file.id not in self._ids:
                        self._gone[file.size, file.mtime_ns, kind].append(file)

    def take(self, entry: Entry, kind: Kind, library_id: int, path: str) -> KnownFile | None:
        """Return the gone file that this new one is, if any, and take it from the list.

        Args:
            path: of the new one, with its library's.
        """
        files = self._gone.get((entry.size, entry.mtime_ns, kind), [])
        name, inode = folded(entry.name), str(entry.inode)
        fitting = [
            file
            for file in files
            if (file.inode == inode or folded(file.path.rpartition("/")[2]) == name)
            and self._is_gone(file, path)
        ]
        if not fitting:
            return None
        best = min(
            fitting,
            key=lambda file: (file.library_id != library_id, file.inode != inode, file.path),
        )
        files.remove(best)
        return best

    def _is_gone(self, file: KnownFile, path: str) -> bool:
        lender = None if file.id in self._ids else self._lenders.get(file.library_id)
        if lender is None or not lender.is_set or f"{lender.path}/{file.path}" == path:
            return True
        disk = lender.disks.get(file.folder_id) if file.folder_id else None
        if lender.mount not in (None, mount_of(lender.path)) or is_bare(lender.path):
            return False
        return (disk is None or is_mounted(disk)) and is_deleted(lender.path, file.path)

    def left(self, library_id: int) -> list[KnownFile]:
        """Return the files that are really gone from a library that is scanned."""
        left = (file for files in self._gone.values() for file in files if file.id in self._ids)
        return [file for file in left if file.library_id == library_id]


def says_otherwise(file: KnownFile, before: Identity, found: Identity, kind: Kind) -> bool:
    """Tell whether a known file is to be taken for what its path says now.

    It keeps what it was unless its name, its folders or an NFO file say something else than they
    did: other ids, numbers or another title, a year that was not there, no tag any more. A path
    that says nothing changes nothing; neither does an NFO file that was left behind.

    Args:
        before: what it was taken for.
        found: what its path and the NFO files there say now.
    """
    if file.dismissed:
        return found.source == "tag"
    if not file.belongs:
        return True
    if found.reason:
        return False
    if found.extra or before.extra:
        kind_and_ids = (found.extra, found.ids) != (before.extra, before.ids)
        return kind_and_ids or _other_title(before, found)
    if before.source == "nfo" and found.source == "name":
        folder, _, name = file.path.rpartition("/")
        before = identify_name(folder, name, kind)
    return (
        _other_ids(before, found)
        or _numbers(found) not in (_numbers(before), _numbers(Identity()))
        or _other_title(before, found)
    )


def as_other_copy(before: Identity, found: Identity) -> Identity | None:
    """Return what a file is that stays with its title, if its name says another copy than it did.

    Args:
        before: what it was taken for.
        found: what its path says now.
    """
    if found.reason or found.extra or before.extra:
        return None
    copy = replace(before, edition=found.edition, version=found.version, part=found.part)
    return None if copy == before else copy


def _other_ids(before: Identity, found: Identity) -> bool:
    if (before.source == "tag") != (found.source == "tag"):
        return True
    return any(before.ids.get(source, value) != value for source, value in found.ids.items())


def _numbers(what: Identity) -> tuple[object, ...]:
    of_date = what.part if what.date else None  # which of several episodes
    return what.season, what.episodes, what.date, of_date, what.absolute


def _other_title(before: Identity, found: Identity) -> bool:
    if not found.title:
        return False
    same = before.title and match_key(before.title, None) == match_key(found.title, None)
    return not same or found.year not in (None, before.year)
