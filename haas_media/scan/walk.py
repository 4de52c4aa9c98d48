"""Walking a library once, cheaply, and never taking an error for a deletion."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from haas_media.catalog.types import to_stored_path
from haas_media.names.kinds import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from haas_media.settings import Kind

# What NAS systems, Windows and Unix put beside media. Folders whose name begins with a dot are
# left out as well; so are folders that hold a file of one of the names in _IGNORE_MARKS.
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"}
)
_IGNORE_MARKS = frozenset({".ignore", ".nomedia"})
# With a file's name of at most 255 bytes, what both databases can hold in a unique index.
MAX_FOLDER_BYTES = 1700
_TELL_EVERY = 200
# What bears on the folders below: a show's seasons, a film's discs.
FOLDER_NFO: dict[Kind, str] = {"movies": "movie.nfo", "tv": "tvshow.nfo"}
_DANGLING = "it is a link that leads nowhere"
_TOO_LONG = (
    f"its path is longer than {MAX_FOLDER_BYTES} bytes, so it is left out. "
    "Shorten its folders' names"
)
_TYPE, _REGULAR = 0o170000, 0o100000
# What a column holds. Broken clocks and file systems give times that are further away.
_EARLIEST, _LATEST = -(2**63), 2**63 - 1


class Entry(NamedTuple):
    """A video or NFO file. ``size`` in bytes."""

    name: str
    size: int
    mtime_ns: int
    inode: int


class Problem(NamedTuple):
    """Something that could not be read; ``path`` is relative to the library's root."""

    path: str
    reason: str


class KnownFolder(NamedTuple):
    """What the catalog has of a folder; ``path`` as it is stored."""

    path: str
    id: int
    signature: str
    nfo_signature: str
    mounted: bool
    files: int


@dataclass(slots=True)
class Listing:
    """A folder that differs from what the catalog has. ``path`` is relative, "" for the root."""

    path: str
    videos: list[Entry]
    nfos: list[Entry]
    # Names of audio, image and subtitle files.
    sidecars: list[str]
    signature: str
    nfo_signature: str
    mounted: bool = False


@dataclass(slots=True)
class Walk:
    """What one walk over a library found.

    ``unread`` are files and folders that could not be read: nothing in or below them is taken for
    gone. ``folder_nfos`` maps each folder with an NFO file that bears on the folders below it to
    that file's name as it is spelt.
    ``offline`` says why the root itself could not be read, if it could not.
    """

    changed: list[Listing] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    found: int = 0
    unchanged: int = 0
    problems: list[Problem] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    folder_nfos: dict[str, str] = field(default_factory=dict)
    offline: str | None = None

    def keeps(self, path: str) -> bool:
        """Tell whether a path that was not seen lies in something that could not be read."""
        return any(path == kept or path.startswith(f"{kept}/") for kept in self.unread)


def walk(
    root: Path,
    known: Mapping[str, KnownFolder],
    *,
    kind: Kind,
    excluded: Iterable[Path] = (),
    on_folder: Callable[[str, int], None] | None = None,
) -> Walk:
    """Walk a library and compare each folder with what the catalog has.

    Symbolic links to folders are followed, but not into the library itself, nor twice.

    Args:
        root: the library's root.
        known: the catalog's folders by relative path.
        kind: what the library holds.
        excluded: folders that belong to another library.
        on_folder: called now and then with the folder at hand and the number of files found.
    """
    return _Walker(root, known, kind, excluded, on_folder).run()


class _Walker:
    def __init__(
        self,
        root: Path,
        known: Mapping[str, KnownFolder],
        kind: Kind,
        excluded: Iterable[Path],
        on_folder: Callable[[str, int], None] | None,
    ) -> None:
        self._root = str(root)
        self._known = known
        self._folder_nfo = FOLDER_NFO[kind]
        self._excluded = {str(path) for path in excluded} - {self._root}
        self._on_folder = on_folder
        self._result = Walk()
        self._followed: list[str] = []
        self._kinds: dict[str, str] = {}

    def run(self) -> Walk:
        result = self._result
        try:
            before = os.stat(self._root)  # noqa: PTH116 - the same call for all
            stack = self._folder("", "", before.st_dev)
        except OSError as error:
            result.offline = _why_offline(error)
            return result
        visited = 0
        while stack:
            path, inherited = stack.pop()
            try:
                stack += self._folder(path, inherited, before.st_dev)
            except OSError as error:
                self._fail(path, error)
            visited += 1
            if self._on_folder and visited % _TELL_EVERY == 0:
                self._on_folder(path, result.found)
        self._check_root(before)
        return result

    def _check_root(self, before: os.stat_result) -> None:
        """Notice a disk that went away during the walk."""
        try:
            after = os.stat(self._root)  # noqa: PTH116
        except OSError as error:
            self._result.offline = _why_offline(error)
            return
        if (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            self._result.offline = "it went away during the scan"

    def _fail(self, path: str, error: OSError) -> None:
        full = f"{self._root}/{path}"
        dangling = isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP
        reason = _DANGLING if dangling and os.path.islink(full) else _reason(error)  # noqa: PTH114
        if reason == _DANGLING and classify(path) == "other":
            self._dangling(path)
            return
        self._result.problems.append(Problem(path, reason))
        self._result.unread.add(path)

    def _folder(self, path: str, inherited: str, root_device: int) -> list[tuple[str, str]]:
        """Read one folder; return its subfolders with the NFO signature they inherit.

        This runs once for every file of a library, so it makes as little as it can of each.
        """
        videos: list[tuple[str, os.stat_result]] = []
        nfos: list[tuple[str, os.stat_result]] = []
        sidecars: list[str] = []
        folders: list[os.DirEntry[str]] = []
        kinds, result = self._kinds, self._result
        prefix = f"{path}/" if path else ""
        with os.scandir(f"{self._root}/{path}") as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    if name in _IGNORE_MARKS:
                        return []
                    continue
                try:
                    if entry.is_dir():
                        folders.append(entry)
                        continue
                    extension = name[name.rfind(".") + 1 :]
                    kind = kinds.get(extension) or self._kind(name, extension)
                    if kind == "video" or kind == "nfo":
                        stat = entry.stat()
                        if stat.st_mode & _TYPE != _REGULAR:
                            result.problems.append(Problem(prefix + name, "it is no regular file"))
                        elif kind == "video":
                            videos.append((name, stat))
                        else:
                            nfos.append((name, stat))
                    elif kind != "other":
                        sidecars.append(name)
                    elif entry.is_symlink():
                        self._dangling(prefix + name)
                except OSError as error:
                    self._fail(prefix + name, error)
        below = inherited
        if videos or nfos or path in self._known:
            below = self._note(path, inherited, videos, nfos, sidecars, root_device)
        if not folders:
            return []
        return [(prefix + entry.name, below) for entry in folders if self._enters(prefix, entry)]

    def _dangling(self, path: str) -> None:
        """Keep what is on record behind a link to a folder that is not there now."""
        if any(known == path or known.startswith(f"{path}/") for known in self._known):
            self._result.problems.append(Problem(path, _DANGLING))
            self._result.unread.add(path)

    def _kind(self, name: str, extension: str) -> str:
        kind = classify(name)
        if "." in name:
            self._kinds[extension] = kind
        return kind

    def _note(
        self,
        path: str,
        inherited: str,
        videos: list[tuple[str, os.stat_result]],
        nfos: list[tuple[str, os.stat_result]],
        sidecars: list[str],
        root_device: int,
    ) -> str:
        """Compare a folder with the catalog; return the NFO signature for its subfolders."""
        result = self._result
        nfo_signature = below = inherited
        if nfos:
            nfos.sort()
            nfo_signature = _digest(inherited, nfos)
            for nfo in nfos:
                if nfo[0].lower() == self._folder_nfo:
                    below = _digest(inherited, [nfo])
                    result.folder_nfos[path] = nfo[0]
                    break
        known = self._known.get(path)
        if not videos and known is None:
            return below
        result.seen.add(path)
        result.found += len(videos)
        videos.sort()
        sidecars.sort()
        signature = _digest("/".join((nfo_signature, *sidecars)), videos)
        if known and known.signature == signature and known.files == len(videos):
            result.unchanged += len(videos)
            return below
        result.changed.append(
            Listing(
                path,
                [_entry(name, stat) for name, stat in videos],
                [_entry(name, stat) for name, stat in nfos],
                sidecars,
                signature,
                nfo_signature,
                mounted=any(stat.st_dev != root_device for _, stat in videos),
            )
        )
        return below

    def _enters(self, prefix: str, entry: os.DirEntry[str]) -> bool:
        if entry.name.lower() in _SYSTEM_FOLDERS:
            return False
        if len(prefix) > MAX_FOLDER_BYTES // 8 and _is_too_long(f"{prefix}{entry.name}"):
            self._result.problems.append(Problem(f"{prefix}{entry.name}", _TOO_LONG))
            return False
        path = f"{self._root}/{prefix}{entry.name}"
        if path in self._excluded:
            return False
        return not entry.is_symlink() or self._follows(path)

    def _follows(self, link: str) -> bool:
        """Follow a link to a folder only where it leads to something that is not walked anyway."""
        target = os.path.realpath(link)
        inside = (os.path.realpath(self._root), *self._followed)
        if any(_contains(folder, target) or _contains(target, folder) for folder in inside):
            return False
        self._followed.append(target)
        return True


def _is_too_long(path: str) -> bool:
    # As the catalog spells it: a byte that is not UTF-8 takes three there.
    return len(to_stored_path(path).encode()) > MAX_FOLDER_BYTES


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _entry(name: str, stat: os.stat_result) -> Entry:
    mtime_ns = min(max(stat.st_mtime_ns, _EARLIEST), _LATEST)
    return Entry(name, stat.st_size, mtime_ns, stat.st_ino)


def _digest(context: str, entries: list[tuple[str, os.stat_result]]) -> str:
    lines = [f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in entries]
    text = "\n".join((context, *lines))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _why_offline(error: OSError) -> str:
    return "its folder is missing" if isinstance(error, FileNotFoundError) else _reason(error)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
