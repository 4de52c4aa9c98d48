"""In which library a path lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from haas_media.settings import Library


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
