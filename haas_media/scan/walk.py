"""Walking a library, or a part of it, once and cheaply; comparing each folder with the catalog."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from haas_media.catalog.dialects import to_stored_path
from haas_media.identification.kinds import classify, is_whole_disc
from haas_media.mounts import is_mounted, mount_of, mounts, nearest_mount
from haas_media.scan.scan_report import FileReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from haas_media.catalog.library_rows import KnownFolder
    from haas_media.scan.offline import Reach
    from haas_media.settings import Kind, Library

# What NAS systems, Windows and Unix put beside media. Folders whose name begins with a dot are
# left out as well; so are folders that hold a file of one of the names in _IGNORE_MARKS.
_SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "recycler"),
        *("$recycle.bin", "system volume information", "found.000", "lost+found"),
        *("network trash folder", "temporary items"),
    }
)
_IGNORE_MARKS = frozenset({".ignore", ".nomedia"})
# With a file's name of at most 255 bytes, what both databases can hold in a unique index.
MAX_FOLDER_BYTES = 1700
_REPORT_EVERY = 200
# Characters of a folder's signature that sum up its videos; as many more, all else in it.
_HALF = 16
_TOO_LONG = (
    f"its path is longer than {MAX_FOLDER_BYTES} bytes, so it is left out. "
    "Shorten its folders' names"
)
# A disc's folder is one title, and is taken for one file.
_STREAMS = (".vob", ".m2ts", ".mts", ".evo")
_COUNTED = (*_STREAMS, ".nfo")
_NEW_LINK = "it is a link that no scan of the whole library has followed yet; it is left to one"
_OF_ANOTHER = "it leads into the library {!r}, which has these files; it is left out"
_TYPE, _REGULAR = 0o170000, 0o100000
# What a column holds. Broken clocks and file systems give times that are further away.
_EARLIEST, _LATEST = -(2**63), 2**63 - 1

# What bears on the folders below: a show's seasons, a film's discs.
FOLDER_NFO: dict[Kind, str] = {"movies": "movie.nfo", "tv": "tvshow.nfo"}

# A file's name, size in bytes, time, inode and device.
_Seen = tuple[str, int, int, int, int]
Found = list[_Seen]


class Scope:
    """A part of a library: some folders alone, others with all below them.

    A file stands for its folder, as what is in a disc does for the one that the disc lies in; an
    NFO file that bears on the folders below for all of these, and what is not there for itself and
    the nearest folder that is.

    Args:
        root: the library's root.
        paths: relative to it; none for the whole library.
    """

    def __init__(self, root: str, paths: Iterable[str] | None = None) -> None:
        self.whole = paths is None
        self._trees: set[str] = set()
        self._folders: set[str] = set()
        for path in paths or ():
            self._add(root, path)
        places = self._trees | self._folders
        self._above = {above for place in places for above in _above(place)}

    def _add(self, root: str, path: str) -> None:
        full = f"{root}/{path}"
        names = path.split("/")
        disc = next((n for n, name in enumerate(names) if is_whole_disc(name)), None)
        if disc is not None:  # is one file of the folder that it lies in
            self._folders.add("/".join(names[:disc]))
        if os.path.isdir(full):  # noqa: PTH112 - undecodable names are fine
            self._trees.add(path)
            return
        folder, _, name = path.rpartition("/")
        if not os.path.lexists(full):
            self._trees.add(path)
        if name.lower() in FOLDER_NFO.values():
            self._trees.add(folder)
        elif os.path.isdir(f"{root}/{folder}"):  # noqa: PTH112
            self._folders.add(folder)
        elif folder:
            self._add(root, folder)

    def has(self, folder: str) -> bool:
        """Tell whether a folder is looked into."""
        return self.whole or folder in self._folders or self.has_tree(folder)

    def has_tree(self, folder: str) -> bool:
        """Tell whether a folder is looked into with all below it."""
        return self.whole or folder in self._trees or any(a in self._trees for a in _above(folder))

    def leads_to(self, folder: str) -> bool:
        """Tell whether a folder has something of this part in or below it."""
        return folder in self._above or self.has(folder)


def _above(path: str) -> Iterable[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


class Entry(NamedTuple):
    """A video, the folder of a disc, or an NFO file. ``size`` in bytes."""

    name: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, seen: _Seen) -> Entry:
        """Return what was found, with a time that a column holds."""
        name, size, mtime_ns, inode, _ = seen
        return cls(name, size, max(_EARLIEST, min(mtime_ns, _LATEST)), inode)


@dataclass(slots=True)
class Listing:
    """A folder that differs from what the catalog has. ``path`` is relative, "" for the root.

    ``same_videos``: it does so in nothing but the files beside its videos.
    """

    path: str
    videos: Found
    nfos: Found
    # Names of audio, image and subtitle files.
    sidecars: list[str]
    signature: str
    nfo_signature: str
    same_videos: bool = False
    mount: str | None = None
    # Whether the next scan is to look into it whatever it looks like.
    recheck: bool = False


@dataclass(slots=True)
class Walk:
    """What one walk over a library found.

    ``folder_nfos`` maps each folder with an NFO file that bears on the folders below it to that
    file's name as it is spelt. ``of_others`` maps the folders that are other libraries to their
    titles. ``is_bare``: the root holds no video and no folder.
    """

    changed: list[Listing] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    found: int = 0
    unchanged: int = 0
    folder_nfos: dict[str, str] = field(default_factory=dict)
    of_others: dict[str, str] = field(default_factory=dict)
    is_bare: bool = True


class _Folder(NamedTuple):
    """A folder to be walked: where it is, where it really is, and the NFO files that bear on it.

    ``mount`` is the nearest place above it, or it itself, where something is mounted.
    """

    path: str
    real: str
    inherited: str
    mount: str


class Walker:
    """Walks a library and compares each folder with what the catalog has.

    Symbolic links to folders are followed after all else, the one that leads to the most first: not
    into the library itself, nor into another one, nor twice. So it does not matter in which order a
    folder lists them.

    Args:
        reach: of the library; learns what cannot be read.
        known: the catalog's folders by relative path.
        scope: which part of it to look into.
        others: the other libraries, whose folders are theirs.
        recheck: list every folder, whether it has changed or not.
        on_folder: called now and then with the folder at hand and the number of files found.
    """

    def __init__(
        self,
        reach: Reach,
        known: Mapping[str, KnownFolder],
        scope: Scope,
        *,
        kind: Kind,
        others: Iterable[Library],
        recheck: bool,
        on_folder: Callable[[str, int], None],
    ) -> None:
        self._reach = reach
        self._root = reach.root
        self._known = known
        self._scope = scope
        self._folder_nfo = FOLDER_NFO[kind]
        self._real_root = os.path.realpath(self._root)
        self._others = {os.path.realpath(other.path): other.title for other in others}
        self._others.pop(self._real_root, None)
        self._recheck = recheck
        self._on_folder = on_folder
        self._result = Walk()
        self._links: list[_Folder] = []
        self._followed: list[str] = []
        self._kinds: dict[str, str] = {}
        self._device = 0
        self._mounts = frozenset(mounts())
        self._is_mounted = cache(is_mounted)
        self._mount = nearest_mount(self._real_root, self._mounts)
        self._visited = 0

    def run(self) -> Walk:
        """Walk; return what was found."""
        root = self._reach.enter()
        if root is None:
            return self._result
        self._device = root.st_dev
        try:
            stack = self._folder(_Folder("", self._real_root, "", self._mount))
        except OSError as error:
            self._reach.lose(error)
            return self._result
        self._below(stack)
        while link := self._next_link():
            self._below([link])
        self._reach.leave()
        return self._result

    def _below(self, stack: list[_Folder]) -> None:
        while stack:
            folder = stack.pop()
            try:
                stack += self._folder(folder)
            except OSError as error:
                self._reach.fail(folder.path, error)
            self._visited += 1
            if self._visited % _REPORT_EVERY == 0:
                self._on_folder(folder.path, self._result.found)

    def _next_link(self) -> _Folder | None:
        """Return the link to follow next, if one is left that leads to what is not walked yet."""
        self._links.sort(
            key=lambda link: (link.real.count("/"), link.real, link.path), reverse=True
        )
        while self._links:
            link = self._links.pop()
            walked = (self._real_root, *self._followed)
            if any(_contains(each, link.real) or _contains(link.real, each) for each in walked):
                self._reach.leave_out(link.path)
                continue
            owner = next((root for root in self._others if _contains(root, link.real)), None)
            if owner is not None:
                reason = _OF_ANOTHER.format(self._others[owner])
                self._reach.problems.append(FileReason(link.path, reason))
                self._reach.leave_out(link.path)
                self._result.of_others[link.path] = self._others[owner]
                continue
            self._followed.append(link.real)
            return link
        return None

    def _kind(self, name: str, extension: str) -> str:
        kind = classify(name)
        if "." in name:
            self._kinds[extension] = kind
        return kind

    def _folder(self, folder: _Folder) -> list[_Folder]:
        """Read one folder; return its subfolders with the NFO signature they inherit.

        This runs once for every file of a library, so it makes as little as it can of each.
        """
        path, real, inherited, mount = folder
        videos: Found = []
        nfos: Found = []
        sidecars: list[str] = []
        folders: list[os.DirEntry[str]] = []
        kinds, reach = self._kinds, self._reach
        inside = self._scope.has(path)
        prefix = f"{path}/" if path else ""
        with os.scandir(f"{self._root}/{path}") as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    if name in _IGNORE_MARKS:
                        reach.leave_out(path)
                        return []
                    continue
                try:
                    if entry.is_dir():
                        if (
                            inside
                            and is_whole_disc(name)
                            and (disc := _disc_stat(f"{self._root}/{prefix}{name}"))
                        ):
                            videos.append(_seen(name, disc))
                        else:
                            folders.append(entry)
                        continue
                    extension = name[name.rfind(".") + 1 :]
                    kind = kinds.get(extension) or self._kind(name, extension)
                    if kind == "video" and not inside:
                        self._result.is_bare = False
                    elif kind == "nfo" or kind == "video":
                        stat = entry.stat()
                        if stat.st_mode & _TYPE != _REGULAR:
                            reach.problems.append(
                                FileReason(prefix + name, "it is no regular file")
                            )
                        elif kind == "video":
                            videos.append(_seen(name, stat))
                        else:
                            nfos.append(_seen(name, stat))
                    else:
                        if kind != "other":
                            sidecars.append(name)
                        if entry.is_symlink():  # to a folder, whatever its name looks like
                            reach.dangles(prefix + name)
                except OSError as error:
                    reach.fail(prefix + name, error)
                    if classify(name) == "nfo" and not _is_deleted(entry, error):
                        nfos.append((name, 0, 0, 0, 0))  # so that it is missed when it is read
        below = inherited
        if videos or nfos or path in self._known:
            below = self._note(folder, videos, nfos, sidecars, inside)
        inner = _Folder(path, real, below, mount)
        return [each for entry in folders if (each := self._enter(entry, inner))]

    def _enter(self, entry: os.DirEntry[str], above: _Folder) -> _Folder | None:
        """Return a subfolder if it is to be walked now; note a link for later."""
        if entry.name.lower() in _SYSTEM_FOLDERS:
            return None
        self._result.is_bare = False
        path = f"{above.path}/{entry.name}" if above.path else entry.name
        if not self._scope.leads_to(path):
            return None
        if len(path) > MAX_FOLDER_BYTES // 8 and _is_too_long(path):
            self._reach.problems.append(FileReason(path, _TOO_LONG))
            return None
        if entry.is_symlink():
            if not (self._scope.whole or self._is_known(path)):
                # Which link a folder belongs to is known when all of them are.
                self._reach.problems.append(FileReason(path, _NEW_LINK))
                return None
            target = os.path.realpath(f"{self._root}/{path}")
            mount = nearest_mount(target, self._mounts)
            self._links.append(_Folder(path, target, above.inherited, mount))
            return None
        real = f"{above.real}/{entry.name}"
        if owner := self._others.get(real):  # which takes over what is on record of it here
            self._result.of_others[path] = owner
            return None
        return _Folder(path, real, above.inherited, real if real in self._mounts else above.mount)

    def _is_known(self, link: str) -> bool:
        return link in self._known or any(path.startswith(f"{link}/") for path in self._known)

    def _note(
        self,
        folder: _Folder,
        videos: Found,
        nfos: Found,
        sidecars: list[str],
        inside: bool,
    ) -> str:
        """Compare a folder with the catalog; return the NFO signature for its subfolders."""
        result, path, inherited = self._result, folder.path, folder.inherited
        all_nfos = below = inherited
        if nfos:
            nfos.sort()
            all_nfos = _digest(inherited, nfos)
            for nfo in nfos:
                if nfo[0].lower() == self._folder_nfo:
                    below = _digest(inherited, [nfo])
                    result.folder_nfos[path] = nfo[0]
                    break
        known = self._known.get(path)
        if not inside or (not videos and known is None):
            return below
        result.seen.add(path)
        result.found += len(videos)
        videos.sort()
        sidecars.sort()
        signature = of_videos = _digest("", videos, _HALF)
        if all_nfos or sidecars:
            signature += digest("/".join((all_nfos, *sidecars)), _HALF)
        elsewhere = bool(videos) and (videos[0][-1] != self._device or folder.mount != self._mount)
        same_videos = (
            known is not None
            and known.signature.startswith(of_videos)
            and known.files == len(videos)
            and not (self._recheck or known.recheck or known.mount == "")
            and elsewhere == (known.mount is not None)
            and (known.mount is None or self._is_mounted(known.mount))
        )
        if same_videos and known and known.signature == signature:
            result.unchanged += len(videos)
            return below
        mount = mount_of(f"{self._root}/{path}", self._mounts) if elsewhere else None
        result.changed.append(
            Listing(path, videos, nfos, sidecars, signature, below, same_videos, mount)
        )
        return below


def is_bare(root: str) -> bool:
    """Tell whether a library has no video and no folder in its root, or cannot be read."""
    try:
        with os.scandir(root) as entries:
            shown = [entry for entry in entries if entry.name[0] != "."]
            return not any(
                entry.name.lower() not in _SYSTEM_FOLDERS
                if entry.is_dir()
                else classify(entry.name) == "video"
                for entry in shown
            )
    except OSError:
        return True


def _disc_stat(folder: str) -> os.stat_result | None:
    """Return what a disc's folder is as a file: the size of all its streams, the newest's time.

    Returns:
        None if no stream is in it, or another video, so that it is a folder as any other.

    Raises:
        OSError: it cannot be read.
    """
    size = newest = streams = 0
    for path, _, names in os.walk(folder, onerror=_fail):
        for name in names:
            if name.lower().endswith(_COUNTED):
                stat = os.stat(f"{path}/{name}")  # noqa: PTH116 - made for every stream
                streams += name.lower().endswith(_STREAMS)
                size += stat.st_size
                newest = max(newest, stat.st_mtime_ns)
            elif classify(name) == "video":
                return None
    if not streams:
        return None
    itself = os.stat(folder)  # noqa: PTH116 - its result is what is returned
    return os.stat_result([*itself[:6], size, *itself[7:10]], {"st_mtime_ns": newest})


def _is_deleted(entry: os.DirEntry[str], error: OSError) -> bool:
    """Tell whether a file that cannot be looked at went away meanwhile; a link's target may not."""
    return isinstance(error, FileNotFoundError) and not entry.is_symlink()


def _fail(error: OSError) -> None:
    raise error


def _is_too_long(path: str) -> bool:
    # As the catalog spells it: a byte that is not UTF-8 takes three there.
    return len(to_stored_path(path).encode()) > MAX_FOLDER_BYTES


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _seen(name: str, stat: os.stat_result) -> _Seen:
    return name, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev


def _digest(context: str, found: Found, length: int = 32) -> str:
    lines = [f"{name}\0{size}\0{mtime_ns}" for name, size, mtime_ns, _, _ in found]
    return digest("\n".join((context, *lines)), length)


def digest(text: str, length: int = 32) -> str:
    """Sum up a text in so many characters."""
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=length // 2).hexdigest()
