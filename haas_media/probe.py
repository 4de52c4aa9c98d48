"""What a media file holds, read with PyAV in this process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from haas_media.av_input import codec_of, is_attached_picture, kind_of, open_input

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer

# Seconds until a device that does not answer is given up.
_TIMEOUT = 60.0


class ProbeError(Exception):
    """The file is no media file that can be read. The text is a sentence."""


class Unreadable(ProbeError):
    """The file cannot be opened now; that says nothing of what it holds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. ``index`` is its real index in the file; ``bit_rate`` in bits a second."""

    index: int
    kind: str
    codec: str | None
    language: str | None = None
    title: str | None = None
    default: bool = False
    forced: bool = False
    attached_picture: bool = False
    bit_rate: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    pixel_format: str | None = None
    channels: int | None = None
    sample_rate: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is known, as JSON takes it."""
        return {
            key: value
            for key, value in asdict(self).items()
            if value is not None and value is not False
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file holds. ``duration`` in seconds, ``bit_rate`` in bits a second."""

    container: str
    duration: float | None
    bit_rate: int | None
    streams: tuple[Stream, ...]


def probe(path: Path) -> Probe:
    """Read the streams of a media file.

    Args:
        path: a local file; its name is only ever a name, never an address.

    Raises:
        Unreadable: it cannot be opened: the right to, or its disk, is missing.
        ProbeError: it is empty, or is no media.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ProbeError("The file is empty.")
    except OSError as error:
        raise Unreadable(f"The file cannot be read: {error.strerror or error}.") from None
    return _probe(path)


def _probe(path: Path) -> Probe:
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        with open_input(path, _TIMEOUT) as container:
            return _describe(container)
    except ProbeError:
        raise
    except Exception as error:  # noqa: BLE001 - one odd file must not fail the scan of all
        why = getattr(error, "strerror", None) or str(error)
        raise ProbeError(f"The file cannot be read as media: {why}.") from None


def _describe(container: InputContainer) -> Probe:
    streams = tuple(_stream(stream) for stream in container.streams)
    if not streams:
        raise ProbeError("The file holds no streams.")
    return Probe(
        container=container.format.name,
        duration=container.duration / 1_000_000 if container.duration else None,
        bit_rate=container.bit_rate or None,
        streams=streams,
    )


def _stream(stream: Any) -> Stream:
    from av.stream import Disposition

    context = stream.codec_context
    metadata = {key.lower(): value for key, value in stream.metadata.items()}
    disposition = stream.disposition
    base: dict[str, Any] = {
        "index": stream.index,
        "kind": kind_of(stream),
        "codec": codec_of(stream),
        "language": metadata.get("language"),
        "title": metadata.get("title"),
        "default": bool(disposition & Disposition.default),
        "forced": bool(disposition & Disposition.forced),
        "attached_picture": is_attached_picture(stream),
        "bit_rate": (context.bit_rate or None) if context else None,
    }
    if context is None:  # a codec that nothing here can decode
        return Stream(**base)
    if stream.type == "video":
        rate = stream.average_rate
        base |= {
            "width": context.width or None,
            "height": context.height or None,
            "frame_rate": round(float(rate), 3) if rate else None,
            "pixel_format": context.pix_fmt,
        }
    if stream.type == "audio":
        base |= {"channels": context.channels or None, "sample_rate": context.sample_rate or None}
    return Stream(**base)
