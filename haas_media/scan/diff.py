"""Comparing a walk with the catalog: what is new, changed, moved and gone."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, func, select, type_coerce

from haas_media.catalog.models import Folder, MediaFile
from haas_media.catalog.types import from_stored_path
from haas_media.catalog.upserts import table_of
from haas_media.scan.sidecars import folded
from haas_media.scan.walk import KnownFolder, Problem, Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy.orm import Session

    from haas_media.scan.walk import Entry, Listing
    from haas_media.settings import Kind

_CHUNK = 500
# How the reason of such files begins; see haas_media.library.files.
REMOVED_ON_REQUEST = "Removed from the library on request"


class KnownFile(NamedTuple):
    """What the catalog has of a file."""

    id: int
    library_id: int
    path: str
    size: int
    mtime_ns: int
    inode: str | None
    state: str
    movie_id: int | None
    show_id: int | None
    identity: dict[str, Any] | None
    sidecars: list[Any]
    unmatched_reason: str | None

    @property
    def belongs(self) -> bool:
        """Whether it belongs to a title."""
        return self.movie_id is not None or self.show_id is not None

    @property
    def dismissed(self) -> bool:
        """Whether somebody removed its title on request: a scan does not bring it back."""
        reason = self.unmatched_reason or ""
        return self.state == "unmatched" and reason.startswith(REMOVED_ON_REQUEST)


@dataclass(slots=True)
class FolderPlan:
    """A changed folder with what the catalog has of its files, by name."""

    listing: Listing
    known: dict[str, KnownFile] = field(default_factory=dict)
    nfo_changed: bool = False


@dataclass(slots=True)
class Diff:
    """What has to be done for one library. ``gone_folders`` are ids of folders."""

    plans: list[FolderPlan] = field(default_factory=list)
    gone: list[KnownFile] = field(default_factory=list)
    gone_folders: list[int] = field(default_factory=list)


def known_folders(session: Session, library_id: int) -> dict[str, KnownFolder]:
    """Load what the catalog has of a library's folders, with the number of files in each."""
    folders, files = table_of(Folder).c, table_of(MediaFile).c
    count = select(func.count()).where(files.folder_id == folders.id).scalar_subquery()
    # Plain columns and text: what turns rows into objects costs more here than all the rest.
    rows = session.connection().execute(
        select(
            type_coerce(folders.path, Text),
            folders.id,
            folders.signature,
            folders.nfo_signature,
            folders.mounted,
            count,
        ).where(folders.library_id == library_id)
    )
    return {from_stored_path(row[0]): KnownFolder._make(row) for row in rows.all()}


def keep_unmounted(root: Path, known: Mapping[str, KnownFolder], walk: Walk) -> None:
    """Keep folders of a disk below the root that is not mounted any more."""
    mounted = sorted(path for path, folder in known.items() if folder.mounted and folder.files)
    if not mounted:
        return
    empty = {listing.path for listing in walk.changed if not listing.videos}
    root_device = os.stat(root).st_dev  # noqa: PTH116
    for path in mounted:
        missing = path not in walk.seen or path in empty
        if missing and not walk.keeps(path):
            top = path.split("/")[0]
            left, device = _left(root, path)
            if device == root_device or _is_bare(left):
                walk.unread.add(path)
                walk.problems.append(Problem(path, f"the disk that {top} is on is offline"))


def _left(root: Path, path: str) -> tuple[Path, int]:
    """Return the nearest folder that is still there, with its device."""
    current = root / path
    while True:
        try:
            return current, current.stat().st_dev
        except OSError:
            current = current.parent


def _is_bare(folder: Path) -> bool:
    """Tell whether a link leads to what is left where a disk was mounted: an empty folder."""
    try:
        return folder.is_symlink() and not folder.resolve().is_mount() and not any(folder.iterdir())
    except OSError:
        return True


def diff(session: Session, library_id: int, known: Mapping[str, KnownFolder], walk: Walk) -> Diff:
    """Compare a walk with the catalog."""
    result = Diff()
    by_folder = _stray_files(session, library_id)
    changed_ids = {
        known[listing.path].id: listing.path for listing in walk.changed if listing.path in known
    }
    unseen = {
        folder.id: path
        for path, folder in known.items()
        if path not in walk.seen and not walk.keeps(path)
    }
    for file in _files_of(session, [*changed_ids, *unseen]):
        by_folder[_parent(file.path)].append(file)
    for listing in sorted(walk.changed, key=lambda listing: listing.path):
        folder = known.get(listing.path)
        plan = FolderPlan(
            listing,
            {_name(file.path): file for file in by_folder.pop(listing.path, ())},
            nfo_changed=folder is not None and folder.nfo_signature != listing.nfo_signature,
        )
        names = {video.name for video in listing.videos}
        for name in [name for name in plan.known if name not in names]:
            file = plan.known.pop(name)
            if not walk.keeps(file.path):
                result.gone.append(file)
        result.plans.append(plan)
    for files in by_folder.values():
        # Of folders that are gone, and strays that an unchanged folder does not hold.
        result.gone += [file for file in files if not walk.keeps(file.path)]
    result.gone_folders = list(unseen)
    return result


def _stray_files(session: Session, library_id: int) -> defaultdict[str, list[KnownFile]]:
    """Load files that are on record without a folder."""
    by_folder: defaultdict[str, list[KnownFile]] = defaultdict(list)
    for file in _select_files(
        session, (MediaFile.library_id == library_id) & MediaFile.folder_id.is_(None)
    ):
        by_folder[_parent(file.path)].append(file)
    return by_folder


def _files_of(session: Session, folder_ids: list[int]) -> Iterator[KnownFile]:
    for start in range(0, len(folder_ids), _CHUNK):
        chunk = folder_ids[start : start + _CHUNK]
        yield from _select_files(session, MediaFile.folder_id.in_(chunk))


def _select_files(session: Session, condition: Any) -> Iterator[KnownFile]:
    columns = [getattr(MediaFile, name) for name in KnownFile._fields]
    for row in session.execute(select(*columns).where(condition).order_by(MediaFile.id)):
        yield KnownFile(*row)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


class Moves:
    """Finds where files went that are gone from where they were.

    A file has moved when one of the same size, time and name (in whatever case), or the same file
    by its inode, is new elsewhere.

    Args:
        gone: the files that are gone, with the kind of their library.
    """

    def __init__(self, gone: Iterable[tuple[KnownFile, Kind]]) -> None:
        self._gone: defaultdict[tuple[int, int, Kind], list[KnownFile]] = defaultdict(list)
        for file, kind in gone:
            self._gone[file.size, file.mtime_ns, kind].append(file)

    def take(self, entry: Entry, kind: Kind, library_id: int) -> KnownFile | None:
        """Return the gone file that this new one is, if any, and take it from the list."""
        files = self._gone.get((entry.size, entry.mtime_ns, kind))
        if not files:
            return None
        name = folded(entry.name)
        fitting = [
            file
            for file in files
            if file.inode == str(entry.inode) or folded(_name(file.path)) == name
        ]
        if not fitting:
            return None
        best = min(
            fitting,
            key=lambda file: (
                file.library_id != library_id,
                file.inode != str(entry.inode),
                file.path,
            ),
        )
        files.remove(best)
        return best

    def left(self) -> list[KnownFile]:
        """Return the files that are really gone."""
        return [file for files in self._gone.values() for file in files]
