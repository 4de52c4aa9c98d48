"""Which part of a library a scan is about: all of it, or what lies at some paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from haas_media.identification.kinds import is_whole_disc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from haas_media.settings import Kind, Library

# What bears on the folders below: a show's seasons, a film's discs.
FOLDER_NFO: dict[Kind, str] = {"movies": "movie.nfo", "tv": "tvshow.nfo"}


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


class Place(NamedTuple):
    """Where a path lies: ``library`` is a title, ``path`` is relative to that library's root."""

    library: str
    path: str


class Places:
    """Says in which library a path lies.

    Args:
        libraries: those in the settings.
    """

    def __init__(self, libraries: Iterable[Library]) -> None:
        roots = {
            root: library.title
            for library in libraries
            for root in (str(library.path), os.path.realpath(library.path))
        }
        # A library inside another one has its own.
        self._roots = sorted(roots.items(), key=lambda each: len(each[0]), reverse=True)

    def find(self, path: str) -> Place | None:
        """Return where an absolute path lies, if it is in a library at all.

        Roots are known as the settings spell them, and with links resolved.
        """
        place = os.path.normpath(path)
        for root, title in self._roots:
            if place == root or place.startswith(root.rstrip("/") + "/"):
                return Place(title, place[len(root) :].strip("/"))
        return None

    def share(self, paths: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
        """Return paths by the title of their library, each relative to its root; those in none."""
        shared: dict[str, dict[str, str]] = {}
        outside = []
        for path in dict.fromkeys(paths):
            if place := self.find(path):
                shared.setdefault(place.library, {})[path] = place.path
            else:
                outside.append(path)
        return shared, outside
