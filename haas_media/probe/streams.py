"""What a media file holds, read with PyAV in this process, and nothing but this file."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from haas_media.wording import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer

Kind = Literal["video", "audio", "subtitle", "attachment", "data"]

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

# Seconds until a device that does not answer is given up.
_TIMEOUT = 60.0
# What systems say of a disk or server that went away, or of a file that did.
_OF_DISKS = frozenset(
    {
        *(errno.ENOENT, errno.EACCES, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
        *(errno.ENXIO, errno.ENODEV, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
_AN_END = 1024 * 1024  # bytes
_UNKNOWN = "unknown"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
# Of a stream, in a catalog.
_KEPT = (
    *("kind", "codec", "language", "title", "default", "forced", "attached_picture", "bit_rate"),
    *("width", "height", "frame_rate", "pixel_format", "channels", "sample_rate"),
)


class ProbeError(Exception):
    """The file is no media file that can be read. The text is a sentence."""


class Unreadable(ProbeError):
    """The file cannot be read now; that says nothing of what it holds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. ``index`` is its real index in the file; ``bit_rate`` in bits a second.

    ``begins`` is in seconds after the file does, ``duration`` in seconds, ``frame_rate`` in frames
    a second. ``width`` and ``height`` are as stored; ``turned`` says that the picture is shown
    turned by a quarter, which is known only when a frame was decoded.
    """

    index: int
    kind: Kind
    codec: str
    begins: float = 0.0
    duration: float | None = None
    language: str | None = None
    title: str | None = None
    default: bool = False
    forced: bool = False
    attached_picture: bool = False
    bit_rate: int | None = None
    width: int = 0
    height: int = 0
    bit_depth: int = 8
    pixel_format: str | None = None
    frame_rate: float | None = None
    turned: bool = False
    square_pixels: bool = True
    channels: int = 0
    sample_rate: int | None = None

    @property
    def ends(self) -> float | None:
        """When it is over, in seconds from where the file begins."""
        return None if self.duration is None else self.begins + self.duration

    @property
    def is_known(self) -> bool:
        """Tell whether there is anything in it that can be decoded."""
        return bool({"video": self.width, "audio": self.sample_rate}.get(self.kind, True))

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as shown, in pixels."""
        return (self.height, self.width) if self.turned else (self.width, self.height)

    def describe(self) -> str:
        """Say in a few words what the stream is."""
        parts = [f"{self.kind} {self.codec}"]
        if self.kind == "video" and self.width:
            parts.append(f"{self.width}x{self.height}")
        if self.channels:
            parts.append(f"{self.channels} ch")
        if self.language and self.language != "und":
            parts.append(self.language)
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return what a catalog keeps of it, as far as it is known."""
        known = {name: getattr(self, name) for name in _KEPT}
        if self.frame_rate:
            known["frame_rate"] = round(self.frame_rate, 3)
        return {"index": self.index} | {
            name: clean_text(value) if isinstance(value, str) else value
            for name, value in known.items()
            if value and value != _UNKNOWN
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file holds. ``duration`` in seconds; ``start`` is its first timestamp."""

    container: str
    duration: float | None
    streams: tuple[Stream, ...]
    start: float = 0.0


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


def probe(path: Path) -> Probe:
    """Read the streams of a media file.

    Args:
        path: a local file; its name is only ever a name, never an address.

    Raises:
        Unreadable: it cannot be opened or read: the right to, or its disk, is missing.
        ProbeError: it is empty, or is no media.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ProbeError("The file is empty.")
    except OSError as error:
        raise Unreadable(f"The file cannot be read: {error.strerror or error}.") from None
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        with open_input(path, _TIMEOUT) as container:
            found = read(container, path)
    except Exception as error:  # noqa: BLE001 - one odd file must not fail the scan of all
        why = getattr(error, "strerror", None) or str(error)
        if _is_of_disk(error, path):
            raise Unreadable(f"The file cannot be read: {why}.") from None
        raise ProbeError(f"The file cannot be read as media: {why}.") from None
    if not found.streams:
        raise ProbeError("The file holds no streams.")
    return found


def _is_of_disk(error: Exception, path: Path) -> bool:
    """Tell whether the disk failed, or did not answer in time, whatever the file holds."""
    import av

    if isinstance(error, OSError) and error.errno == errno.EIO:
        return not _ends_can_be_read(path)  # ffmpeg says so of files that are cut short, too
    of_disk = isinstance(error, OSError) and error.errno in _OF_DISKS
    return of_disk or isinstance(error, av.error.ExitError)


def _ends_can_be_read(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(_AN_END)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _AN_END))
            file.read(_AN_END)
    except OSError:
        return False
    return True


def read(container: InputContainer, path: Path) -> Probe:
    """Read what a file that was opened says that it holds, were it cut short or not."""
    name = container.format.name
    start = (container.start_time or 0) / 1_000_000
    if name != "mpegts":  # whose clock begins again from 0, and what was before is negative then
        start = max(0.0, start)
    # Matroska's durations are the moments at which its last packets end.
    before = start if name.startswith("matroska") else 0.0
    duration = (container.duration or 0) / 1_000_000 - before
    if name == "asf":
        duration = _asf_duration(path) or duration
    return Probe(
        container=name,
        duration=duration if duration > 0 else None,
        streams=tuple(_stream(raw, start) for raw in container.streams),
        start=start,
    )


def _asf_duration(path: Path) -> float | None:
    """Read how long a Windows Media file says it is, which ffmpeg does not tell of half a one."""
    with path.open("rb") as file:
        head = file.read(65536)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return None
    play = int.from_bytes(head[at + 64 : at + 72], "little") / 10_000_000
    preroll = int.from_bytes(head[at + 80 : at + 88], "little") / 1000
    is_broadcast = head[at + 88] & 1
    return None if is_broadcast or play <= preroll else play - preroll


def _stream(raw: Any, start: float) -> Stream:
    from av.stream import Disposition

    context = raw.codec_context
    metadata = {key.lower(): value for key, value in raw.metadata.items()}
    kind = cast("Kind", raw.type if raw.type in get_args(Kind) else "data")
    begins = 0.0
    if raw.start_time is not None and raw.time_base:
        begins = float(raw.start_time * raw.time_base) - start
    known: dict[str, Any] = {
        "index": raw.index,
        "kind": kind,
        # Not the name of the decoder at hand (``libdav1d``).
        "codec": context.codec.canonical_name if context else _UNKNOWN,
        "begins": begins,
        "duration": _duration(raw, start + begins),
        "language": metadata.get("language"),
        # MP4's demuxer reads as name what its muxer writes of a title.
        "title": metadata.get("title") or metadata.get("name"),
        "default": bool(raw.disposition & Disposition.default),
        "forced": bool(raw.disposition & Disposition.forced),
        "attached_picture": kind == "video" and bool(raw.disposition & Disposition.attached_pic),
    }
    if context is None:  # a codec that nothing here can decode
        return Stream(**known)
    known["bit_rate"] = context.bit_rate or None
    if kind == "video":
        pixels, rate = context.format, raw.average_rate
        known |= {
            "width": context.width,
            "height": context.height,
            "bit_depth": max((part.bits for part in pixels.components), default=8) if pixels else 8,
            "pixel_format": context.pix_fmt,
            "frame_rate": float(rate) if rate else None,
            "square_pixels": raw.sample_aspect_ratio in (None, 0, 1),
        }
        if rate and raw.frames and known["duration"] and raw.container.format.name == "avi":
            # Of half a file it tells the half's length, but still counts all pictures.
            known["duration"] = max(known["duration"], raw.frames / float(rate))
    elif kind == "audio":
        known |= {"channels": count_channels(context), "sample_rate": context.sample_rate or None}
    return Stream(**known)


def _duration(raw: Any, start: float) -> float | None:
    # That of a stream of one picture in Matroska would be its file's.
    told = raw.duration if raw.container.format.name != "matroska,webm" else None
    if told is not None and told > 0 and raw.time_base:
        return float(told * raw.time_base)
    # Matroska keeps it in a tag, 01:02:03.456000000, whose name may end in a language. One with a
    # language may be of the file that this one was cut from.
    named = [name for name in sorted(raw.metadata) if name.startswith("DURATION")]
    try:
        hours, minutes, seconds = map(float, raw.metadata[named[0]].split(":"))
    except (IndexError, ValueError):
        return None
    end = hours * 3600 + minutes * 60 + seconds
    if raw.container.duration:
        end = min(end, raw.container.duration / 1_000_000)
    return end - start if end > start else None


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
