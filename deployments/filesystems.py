"""Which filesystem a path is on, and whether its locks can be relied on."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# Locks of these are missing, advisory between hosts, or lost when the server restarts.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs"}
)
NETWORK_FUSE = re.compile(r"fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|gcsfuse|goofys|davfs2?)")


def network_filesystem(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the kind of network filesystem that a path is on, or None.

    Args:
        path: what is asked about; it need not exist.
        mounts: the kernel's list, as proc(5) describes ``mountinfo``. Where there is none, as on
            systems other than Linux, the answer is None.
    """
    place = Path(os.path.realpath(path))
    found, kind = Path("/"), ""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split(" ")[4]))
        # Later mounts lie over earlier ones.
        if place.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, after.split(" ")[0]
    return kind if kind in NETWORK or NETWORK_FUSE.fullmatch(kind) else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
