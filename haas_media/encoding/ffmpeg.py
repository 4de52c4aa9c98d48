"""Find ffmpeg, and what it can do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from haas_media.encoding.errors import EncodingError

# What every run of ffmpeg is told, to be read by a program.
LOGGED = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", "-progress", "pipe:1")
_ENCODER = re.compile(r"^ [VASFXBD.]{6} (\S+)", re.MULTILINE)
_LISTING_SECONDS = 30
# What would make ffmpeg write a log of its own, and what is none of its business.
_HIDDEN = ("FFREPORT", "AV_LOG_", "HAAS_", "PREFECT_", "OTEL_")


def find_ffmpeg(setting: str | None = None) -> Path:
    """Find the ffmpeg to run: the one that is set, else one on PATH, else the wheel's.

    ``setting`` is a path or a command's name (HAAS_FFMPEG). Raises EncodingError when it leads
    nowhere.
    """
    found = shutil.which(setting or "ffmpeg")
    if found is not None:
        return Path(found).absolute()
    if setting:
        raise EncodingError(
            f"HAAS_FFMPEG is {setting!r}, which is not a program that can be run: correct it, or "
            "unset it to use the one that came with this package."
        )
    return companion()


def companion() -> Path:
    """Find the ffmpeg that came along, with which sources and outputs are looked at.

    It has what the one that is set may lack: libvmaf, zscale, every decoder. Without it, as on
    machines for which there is no wheel, the one on PATH has to do. Raises EncodingError.
    """
    try:
        import imageio_ffmpeg

        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
        if found is not None:
            return Path(found).absolute()
        raise EncodingError(
            "There is no ffmpeg: install one, or set HAAS_FFMPEG to its path."
        ) from None


def list_encoders(ffmpeg: Path) -> frozenset[str]:
    """List the names of the encoders this ffmpeg was built with. Raises EncodingError."""
    try:
        answer = subprocess.run(
            [ffmpeg, "-hide_banner", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LISTING_SECONDS,
            check=True,
            env=environment(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EncodingError(
            f"{str(ffmpeg)!r} does not answer as ffmpeg does ({type(error).__name__}): set "
            "HAAS_FFMPEG to another."
        ) from error
    return frozenset(_ENCODER.findall(answer.stdout.decode(errors="replace")))


def environment() -> dict[str, str]:
    """Give the environment that ffmpeg runs in: this process's, without its secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    # SVT-AV1 writes its log past ffmpeg's; errors are enough.
    return {"SVT_LOG": "1", **kept, "AV_LOG_FORCE_NOCOLOR": "1"}
