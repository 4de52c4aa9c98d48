"""What an input holds, read in-process with PyAV."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from haas_media.av_input import Kind, codec_of, is_attached_picture, kind_of, open_input
from haas_media.encoding.errors import EncodingError

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer

_TEXT_FORMATS = {"srt", "ass", "webvtt", "microdvd", "mpsub", "mpl2", "subviewer", "sami", "stl"}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a file. ``duration`` is in seconds, ``frame_rate`` in frames a second.

    ``width`` and ``height`` are as stored; ``turned`` says that the picture is shown turned by a
    quarter, which is known only when the probe was asked to decode a frame.
    """

    index: int
    kind: Kind
    codec: str
    duration: float | None = None
    language: str | None = None
    attached_picture: bool = False
    width: int = 0
    height: int = 0
    bit_depth: int = 8
    hdr: str | None = None
    frame_rate: float | None = None
    turned: bool = False
    square_pixels: bool = True
    channels: int = 0

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


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file looked like at one moment; differs when it was written to or replaced."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A probed file. ``format`` is the demuxer's short name, ``duration`` in seconds."""

    path: Path
    format: str
    duration: float | None
    streams: tuple[Stream, ...]
    identity: Identity


def identify(path: Path) -> Identity:
    """Read what tells one state of a file from another. Raises OSError."""
    status = path.stat()
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def probe(path: Path, *, decode_frame: bool = False) -> MediaFile:
    """Read which streams a file holds.

    With ``decode_frame`` the first picture of each video stream is decoded, which alone tells
    whether it is shown turned. Raises EncodingError with a sentence.
    """
    identity = _regular_file(path)
    from av.error import FFmpegError

    try:
        with open_input(path) as container:
            start = _matroska_start(container)
            found = tuple(_stream(raw, start) for raw in container.streams)
            duration = _container_duration(container, start)
            name = container.format.name.split(",")[0]
            turned = _turned_streams(container, found) if decode_frame else frozenset()
    except FFmpegError as error:
        raise EncodingError(
            f"{str(path)!r} is not a media file that can be read: it is damaged, incomplete or of "
            f"an unknown kind ({error.strerror})."
        ) from error
    except OSError as error:
        raise EncodingError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if name in _TEXT_FORMATS:
        _check_encoding(path)
    if turned:
        found = tuple(replace(each, turned=each.index in turned) for each in found)
    return MediaFile(path, name, duration, found, identity)


def _regular_file(path: Path) -> Identity:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise EncodingError(f"There is no file {str(path)!r}.") from None
    except OSError as error:
        raise EncodingError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise EncodingError(f"{str(path)!r} is not a file.")
    if status.st_size == 0:
        raise EncodingError(f"{str(path)!r} is empty.")
    if not os.access(path, os.R_OK):
        raise EncodingError(f"{str(path)!r} cannot be read: permission is denied.")
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _check_encoding(path: Path) -> None:
    """Refuse text that ffmpeg would mangle or drop, line by line, and still end well."""
    text = path.read_bytes()
    if text.startswith(_UTF16_MARKS):
        return
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise EncodingError(
            f"The subtitles in {str(path)!r} are not in UTF-8: convert them first, for example "
            "with iconv."
        ) from None


def _matroska_start(container: InputContainer) -> float:
    """Tell at how many seconds a Matroska file begins, which its durations include.

    They are the moments at which its last packets end.
    """
    if not container.format.name.startswith("matroska"):
        return 0.0
    return max(0, container.start_time or 0) / 1_000_000


def _container_duration(container: InputContainer, start: float) -> float | None:
    if container.duration is None or container.duration <= 0:
        return None
    seconds = container.duration / 1_000_000 - start
    return seconds if seconds > 0 else None


def _stream(raw: Any, start: float) -> Stream:
    context = raw.codec_context
    kind = kind_of(raw)
    metadata = raw.metadata
    common: dict[str, Any] = {
        "index": raw.index,
        "kind": kind,
        "codec": codec_of(raw) or "unknown",
        "duration": _stream_duration(raw, metadata, start),
        "language": metadata.get("language"),
    }
    if context is not None and kind == "video":
        pixels = context.format
        rate = raw.average_rate
        common |= {
            "attached_picture": is_attached_picture(raw),
            "width": context.width,
            "height": context.height,
            "bit_depth": max((part.bits for part in pixels.components), default=8) if pixels else 8,
            "hdr": _HDR_TRANSFERS.get(context.color_trc),
            "frame_rate": float(rate) if rate else None,
            "square_pixels": raw.sample_aspect_ratio in (None, 0, 1),
        }
    elif context is not None and kind == "audio":
        common["channels"] = context.channels
    return Stream(**common)


def _stream_duration(raw: Any, metadata: dict[str, str], start: float) -> float | None:
    if raw.duration is not None and raw.duration > 0 and raw.time_base:
        return float(raw.duration * raw.time_base)
    # Matroska keeps it in a tag, 01:02:03.456000000, whose name may end in a language.
    tag = next((value for name, value in metadata.items() if name.startswith("DURATION")), "")
    try:
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
    except ValueError:
        return None
    end = hours * 3600 + minutes * 60 + seconds
    return end - start if end > start else None


def _turned_streams(container: InputContainer, found: tuple[Stream, ...]) -> frozenset[int]:
    turned = set()
    for stream in found:
        if stream.kind != "video" or stream.attached_picture:
            continue
        container.seek(0)
        for frame in container.decode(container.streams[stream.index]):
            if getattr(frame, "rotation", 0) % 180 == 90:
                turned.add(stream.index)
            break
    return frozenset(turned)
