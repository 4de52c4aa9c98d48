"""Opening a media file with PyAV so that nothing but this file is read."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer

# Whatever a file is called, ffmpeg looks at what is in it. Playlists (hls, dash, concat) are left
# out: they make it read other files, and addresses, than the one named.
FORMATS = (
    "matroska,mov,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,wav,w64,aiff,mp3,aac,flac,ac3,eac3,dts,"
    "dtshd,truehd,h264,hevc,vvc,obu,av1,ivf,m4v,vc1,dv,mxf,gxf,nsv,nut,nuv,rm,wtv,swf,bink,smk,"
    "yuv4mpegpipe,caf,au,amr,ape,tta,wv,gif,apng,srt,ass,webvtt,microdvd,mpsub,mpl2,subviewer,"
    "sami,stl,sup,vobsub"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
# For recordings, in which a track may be silent for long: bytes and microseconds to look at, until
# all are known.
PATIENTLY = {"probesize": "100000000", "analyzeduration": "60000000"}
# Titles and the like are often in the encoding of whoever wrote them, which nobody knows.
_LENIENT = "replace"


@contextmanager
def open_input(
    path: Path, timeout: float | None = None, *, patient: bool = False
) -> Iterator[InputContainer]:
    """Open a file for reading.

    Args:
        path: any name, however it looks; only the file itself is opened.
        timeout: seconds until a device that does not answer is given up; None to wait.
        patient: look for tracks that begin late in a recording, too, which takes seconds.

    Raises:
        av.error.FFmpegError: it is no media file, or of a kind that refers to other files.
        OSError: it cannot be read.
    """
    import av

    options = _OPTIONS | PATIENTLY if patient else _OPTIONS
    source: Any = f"file:{path}"
    with ExitStack() as stack:
        try:
            source.encode()
        except UnicodeEncodeError:
            # PyAV takes UTF-8 names only; an older name is read through a file object instead.
            source = stack.enter_context(path.open("rb"))
        opened = av.open(source, "r", timeout=timeout, options=options, metadata_errors=_LENIENT)
        yield stack.enter_context(opened)


def channels_of(layout: str) -> int:
    """Count the channels of an arrangement by ffmpeg's name of it (``5.1(side)``)."""
    import av

    return int(av.AudioLayout(layout).nb_channels)


def count_channels(context: Any) -> int:
    """Count the channels of an audio stream.

    PyAV frees a layout in an order of the file's own twice, which ends the process: so it never is
    freed, a few bytes for each stream.
    """
    layout = context.layout
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return int(layout.nb_channels)
