"""Audio, image and subtitle files beside a video."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from haas_media.catalog.types import clean_text
from haas_media.names.kinds import classify, split_extension

if TYPE_CHECKING:
    from haas_media.scan.walk import Listing

_BOUNDARIES = frozenset(" .-_([")


def sidecars_of(listing: Listing) -> dict[str, list[dict[str, Any]]]:
    """Say which files of a folder belong to which video: those that begin with its name.

    Where several videos fit, the one with the longest name has it. Files that fit none (a poster,
    a theme) belong to the only video if there is but one.
    """
    stems = {folded(split_extension(video.name)[0]): video.name for video in listing.videos}
    found: dict[str, list[dict[str, Any]]] = {video.name: [] for video in listing.videos}
    only = listing.videos[0].name if len(listing.videos) == 1 else None
    for name in (*listing.sidecars, *(nfo.name for nfo in listing.nfos)):
        owner = _owner(name, stems) or only
        if owner:
            found[owner].append({"name": clean_text(name), "kind": classify(name)})
    return found


def _owner(name: str, stems: dict[str, str]) -> str | None:
    stem = folded(split_extension(name)[0])
    while stem:
        if stem in stems:
            return stems[stem]
        stem = stem[: _last_boundary(stem)]
    return None


def _last_boundary(stem: str) -> int:
    return max(0, *(stem.rfind(char) for char in _BOUNDARIES))


def folded(name: str) -> str:
    """Return a name without case, and composed: the same however a system spells it."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
