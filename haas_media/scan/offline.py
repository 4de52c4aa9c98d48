"""What is out of reach, so that an error is never taken for a deletion: roots and folders alike.

Nothing of a library is taken for gone while its root is missing, unreadable or suddenly empty, or
while the disk is away that the root was mounted from; nothing in or below a folder that cannot be
read, that a link no longer leads to, or whose disk is away; nothing that is there again when its
record would be removed. Where a large part of a library is gone
all the same (a union mount has lost a branch), it takes two scans that say so.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from haas_media.identification import is_video
from haas_media.mounts import is_mounted, mount_of, mounts
from haas_media.scan.scan_report import FileReason
from haas_media.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from haas_media.catalog.library_rows import KnownFile, KnownFolder

# More files than this, and this part of a library, are not taken for gone at the first sight.
_FEW, _PART = 5, 0.5
_DANGLING = "it is a link that leads nowhere"
_NOT_MOUNTED = "the disk that was mounted on {} is not there"


class Reach:
    """What of one library is within reach of one scan.

    ``offline`` says why the library is not, if it is not; then none of it changes. ``mount`` is
    where the disk was mounted that the root was on when it was walked.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.mount = ""
        self.offline: str | None = None
        self.problems: list[FileReason] = []
        # Paths that nothing in or below is taken for gone of, with the disk or link that is away.
        self._away: dict[str, FileReason | None] = {}
        self._away_disks: dict[str, list[str]] = {}
        self._left_out: set[str] = set()
        # Files that are kept, by their paths.
        self._kept: dict[str, FileReason | None] = {}
        self._before: os.stat_result | None = None

    # The root

    def enter(self) -> os.stat_result | None:
        """Look at the root before a walk; None if it is offline."""
        try:
            self._before = os.stat(self.root)  # noqa: PTH116 - the same call for all
            # It may be away again long before the scan ends.
            self.mount = self.mount or mount_of(self.root)
        except OSError as error:
            self.lose(error)
        return self._before

    def lose(self, error: OSError) -> None:
        """Note that the root cannot be read."""
        missing = isinstance(error, FileNotFoundError)
        self.offline = "its folder is missing" if missing else _reason(error)

    def leave(self) -> None:
        """Notice a root that went away during the walk."""
        before = self._before
        after = self.enter()
        if before and after and (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            self.offline = "it went away during the scan"

    def check_root(self, found: int, on_record: int) -> None:
        """Notice a root that is suddenly empty."""
        if self.offline is None and found == 0 and on_record:
            files = counted(on_record, "file is", "files are")
            self.offline = f"its folder is empty, but {files} on record"

    def check_mount(self, mount: str | None, gone: int, on_record: int) -> None:
        """Notice a root whose disk is away, and which does not hold most of what it did.

        Args:
            mount: where the disk was mounted when it was last seen.
            gone: how many files on record are not there.
            on_record: how many files were looked for.
        """
        if not gone or is_most(on_record - gone, on_record):
            return
        if mount and mount != self.mount and PurePath(mount).is_relative_to(self.mount):
            self.offline = _NOT_MOUNTED.format(mount)

    # Folders

    def fail(self, path: str, error: OSError) -> None:
        """Note a file or folder that cannot be read."""
        full = f"{self.root}/{path}"
        dangling = isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP
        if not (dangling and os.path.islink(full)):  # noqa: PTH114
            self.problems.append(FileReason(path, _reason(error)))
            self._away[path] = None
        elif is_video(path):
            self.problems.append(FileReason(path, _DANGLING))
            self._away[path] = None
        else:
            self.dangles(path)

    def dangles(self, path: str) -> None:
        """Note a link that leads nowhere: of interest only if something is on record behind it."""
        self._away[path] = FileReason(path, _DANGLING)

    def keep(self, paths: Iterable[str]) -> None:
        """Take nothing in or below these paths for gone."""
        self._away |= dict.fromkeys(paths)

    def leave_out(self, path: str) -> None:
        """Note a folder that is there, and that is not looked into on purpose."""
        self._left_out.add(path)

    def check_disks(self, known: Mapping[str, KnownFolder]) -> None:
        """Find folders whose disk is away: it is not mounted where it was.

        One whose disk was never on record is away if only the root's or the system's is there.
        """
        away: dict[str, FileReason | None] = {}
        points = frozenset(mounts())
        for path, folder in known.items():
            if folder.mount is None or not folder.files:
                continue
            mount = folder.mount or self._where_left(path, points)
            if mount not in away:
                nowhere = not folder.mount and mount in (self.mount, "/")
                gone = nowhere or not is_mounted(mount)
                of_mount = FileReason(self._below(mount, path), _NOT_MOUNTED.format(mount))
                away[mount] = of_mount if gone else None
            problem = away[mount]
            if problem and self._away.setdefault(path, problem) is problem:
                self._away_disks.setdefault(mount, []).append(path)

    def find_disks(self, seen: Mapping[str, int], on_record: Mapping[str, int]) -> None:
        """Notice disks whose files are there without them: copied off, or mounted elsewhere now.

        Args:
            seen: by the place where a disk was mounted, how many of its files are there.
            on_record: how many there were.
        """
        for mount in [each for each in self._away_disks if is_most(seen[each], on_record[each])]:
            for path in self._away_disks.pop(mount):
                del self._away[path]

    def _where_left(self, path: str, points: frozenset[str]) -> str:
        """Return where the disk is mounted that the nearest folder which is there is on."""
        full = PurePath(self.root, path)
        there = next((str(each) for each in (full, *full.parents) if os.path.exists(each)), "/")  # noqa: PTH110
        return mount_of(there, points)

    def _below(self, mount: str, path: str) -> str:
        """Return where in the library a disk is: behind a link, that is its first folder."""
        place, root = PurePath(mount), PurePath(self.root)
        inside = place != root and place.is_relative_to(root)
        return str(place.relative_to(root)) if inside else path.split("/")[0]

    def keeps(self, path: str) -> bool:
        """Tell whether a file that was not seen may be there all the same, and report that."""
        place = _nearest(path, self._away)
        if place is not None:
            self._kept[path] = self._away[place]
        return place is not None

    def is_away(self, path: str) -> bool:
        """Tell whether a path lies in something that is out of reach."""
        return _nearest(path, self._away) is not None

    def _came_back(self, path: str) -> bool:
        """Tell whether a file is there that its folder did not list: its disk was away then."""
        return _nearest(path, self._left_out) is None and not is_deleted(self.root, path)

    def disk_is_away(self, folder: str) -> bool:
        """Tell whether the disk is away that a folder which is there was on."""
        return self._away.get(folder) is not None

    def report(self) -> list[FileReason]:
        """Return what was out of reach, a disk or link that has kept something once."""
        kept = [
            FileReason(away.path, f"{away.reason}; {counted(files, 'record')} kept")
            for away, files in Counter(filter(None, self._kept.values())).items()
        ]
        return [*self.problems, *kept]

    # What is gone in spite of all that

    def hold_back(
        self, gone: Iterable[KnownFile], on_record: int, *, again: bool
    ) -> tuple[list[KnownFile], list[KnownFile]]:
        """Divide files that are gone into those to remove, and those to wait for another scan.

        Args:
            gone: of this library, those that have not moved.
            on_record: how many files it had.
            again: whether what was missing before is removed now: not by a scan of a part, as that
                may come at once.
        """
        gone = list(gone)
        first = [file for file in gone if not file.missing]
        back = {file.id for file in first if self._came_back(file.path)}
        in_reach = on_record - len(self._kept)
        many = len(first) > _FEW and len(first) >= _PART * in_reach
        if back:
            reason = (
                f"{counted(len(back), 'file was', 'files were')} not there when the folders were "
                "read, and can be reached now; the next scan looks again"
            )
            self.problems.append(FileReason(".", reason))
        elif many:
            reason = (
                f"{len(first)} of {counted(on_record, 'file')} on record are not there. They are "
                "kept; if the next scan does not find them either, their records are removed"
            )
            self.problems.append(FileReason(".", reason))
        # Of a title that was removed on request: should it come back, it is still that.
        held = [
            file
            for file in gone
            if file.dismissed or (not again if file.missing else many or file.id in back)
        ]
        kept = {file.id for file in held}
        return [file for file in gone if file.id not in kept], held


def is_deleted(root: str, path: str) -> bool:
    """Tell whether a path below a root that is there is gone, and not only out of reach."""
    full = root
    for name in path.split("/"):
        full = f"{full}/{name}"
        try:
            leads_nowhere = stat.S_ISLNK(os.lstat(full).st_mode) and not os.path.exists(full)  # noqa: PTH110
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        if leads_nowhere:
            return False
    return False


def _nearest(path: str, places: Collection[str]) -> str | None:
    """Return the nearest of the places that a path lies at or below."""
    while path and path not in places:
        path = path.rpartition("/")[0]
    return path or None


def is_most(seen: int, on_record: int) -> bool:
    """Tell whether what is there is most of what was: the rest of it may be gone."""
    return seen > _PART * on_record


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
