"""Which filesystem a path is on, and whether its locks can be relied on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from haas_media.mounts import MOUNTS, nearest_mount
from haas_media.mounts import mounts as read_mounts

if TYPE_CHECKING:
    from pathlib import Path

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
    kinds = read_mounts(mounts)
    kind = kinds.get(nearest_mount(os.path.realpath(path), kinds), "")
    return kind if kind in NETWORK or NETWORK_FUSE.fullmatch(kind) else None
