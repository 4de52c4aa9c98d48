"""Audio, image and subtitle files beside a video."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from haas_media.identification.kinds import classify
from haas_media.wording import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BOUNDARIES = frozenset(" .-_([")


def stem_of(name: str) -> str:
    """Return the name of a video, or of a file beside one, without its extension, folded."""
    return folded(name.rpartition(".")[0])


def sidecars_of(
    stems: Mapping[str, str], others: Iterable[str]
) -> defaultdict[str, list[dict[str, Any]]]:
    """Say which files of a folder belong to which video: those that begin with its name.

    Where several videos fit, the one with the longest name has it. Files that fit none (a poster,
    a theme) belong to the only video if there is but one.

    Args:
        stems: the folder's videos by ``stem_of`` their names.
        others: names of its audio, image, subtitle and NFO files.
    """
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    only = next(iter(stems.values())) if len(stems) == 1 else None
    for name in others:
        owner = _owner(name, stems) or only
        if owner:
            found[owner].append({"name": clean_text(name), "kind": classify(name)})
    return found


def _owner(name: str, stems: Mapping[str, str]) -> str | None:
    stem = stem_of(name)
    while stem:
        if stem in stems:
            return stems[stem]
        stem = stem[: max(0, *(stem.rfind(char) for char in _BOUNDARIES))]
    return None


def folded(name: str) -> str:
    """Return a name without case, and composed: the same however a system spells it."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
