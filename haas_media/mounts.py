"""Where disks are mounted, and which kind of file system they have."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# As proc(5) describes it. Other systems than Linux have none.
MOUNTS = Path("/proc/self/mountinfo")


def mounts(listing: Path = MOUNTS) -> dict[str, str]:
    """Return the kind of file system by the place where it is mounted; nothing if not known."""
    try:
        lines = os.fsdecode(listing.read_bytes()).split("\n")  # all else may be in a name
    except OSError:
        return {}
    parted = (line.partition(" - ") for line in lines if line)
    # Later mounts lie over earlier ones.
    return {_unescaped(about.split(" ")[4]): kind.split(" ")[0] for about, _, kind in parted}


def is_mounted(place: str) -> bool:
    """Tell whether something is mounted there: a disk, or a folder of the same one."""
    return place in mounts() or os.path.ismount(place)


def mount_of(path: str, points: Collection[str] | None = None) -> str:
    """Return where the disk is mounted that a path is on.

    Args:
        path: what is asked about.
        points: the places of ``mounts``, for many calls. A folder that is mounted from the same
            disk (``mount --bind``, volumes of containers) is told by them alone.
    """
    place = os.path.realpath(path)
    points = frozenset(mounts() if points is None else points)
    try:
        device = os.stat(place).st_dev  # noqa: PTH116
    except OSError:
        return nearest_mount(place, points)
    return _mount_of(place, device, points)


@lru_cache(maxsize=1024)
def _mount_of(place: str, device: int, points: frozenset[str]) -> str:
    while place != "/" and place not in points:
        above = os.path.dirname(place)  # noqa: PTH120
        if os.stat(above).st_dev != device:  # noqa: PTH116
            break
        place = above
    return place


def nearest_mount(path: str, points: Collection[str]) -> str:
    """Return the place of ``mounts`` that a path, without links, lies at or below."""
    while path != "/" and path not in points:
        path = os.path.dirname(path)  # noqa: PTH120
    return path


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
