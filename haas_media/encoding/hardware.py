"""Choose the encoder: the hardware asked for when it really works here, else software."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from haas_media.encoding.encoders import HARDWARE, SOFTWARE, Encoder
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.request import CODEC_NAMES
from haas_media.encoding.runner import run

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from haas_media.encoding.request import EncodeRequest

_PROBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The encoder to use; ``fallback`` says why it is not the hardware that was asked for."""

    encoder: Encoder
    fallback: str | None = None


def choose_encoder(
    request: EncodeRequest, ffmpeg: Path, encoders: Collection[str], bit_depth: int
) -> Choice:
    """Choose the encoder for a request that does not copy.

    Each hardware candidate is tried on a few real frames: what an ffmpeg was built with tells
    nothing about what the machine has. Raises EncodingError when not even software can do it.
    """
    asked, codec = request.hardware_acceleration, request.video_codec
    if asked == "none":
        return Choice(_software(codec, encoders))
    reasons = []
    for kind in HARDWARE if asked == "auto" else [asked]:
        called, codecs = HARDWARE[kind]
        reason: str | None = f"it has no {CODEC_NAMES[codec]} encoder"
        if codec in codecs:
            encoder = Encoder(f"{codec}_{kind}", codec, kind, request.device)
            reason = _why_not(encoder, ffmpeg, encoders, bit_depth)
            if reason is None:
                return Choice(encoder)
        reasons.append(f"{called}: {reason}")
    encoder = _software(codec, encoders)
    wanted = "Hardware" if asked == "auto" else HARDWARE[asked][0]
    return Choice(
        encoder,
        f"{wanted} was asked for but does not work here ({'; '.join(reasons)}), so the video was "
        f"encoded in software with {encoder.name}.",
    )


def _software(codec: str, encoders: Collection[str]) -> Encoder:
    for name in SOFTWARE[codec]:
        if name in encoders:
            return Encoder(name, codec)
    raise EncodingError(
        f"This ffmpeg has no {CODEC_NAMES[codec]} encoder ({' or '.join(SOFTWARE[codec])}): choose "
        "another video codec, or set HAAS_FFMPEG to a full ffmpeg."
    )


def _why_not(
    encoder: Encoder, ffmpeg: Path, encoders: Collection[str], bit_depth: int
) -> str | None:
    """Say why an encoder cannot be used, None if it can."""
    if encoder.name not in encoders:
        return f"this ffmpeg was built without {encoder.name}"
    try:
        finished = run(probe_argv(ffmpeg, encoder, bit_depth), timeout=_PROBE_SECONDS)
    except EncodingError as error:
        return str(error).rstrip(".")
    return None if finished.succeeded else finished.reason


def probe_argv(ffmpeg: Path, encoder: Encoder, bit_depth: int) -> list[str]:
    """List a command that encodes a few black frames into nothing."""
    pixels = encoder.pixel_format(bit_depth)
    filters = f"format={pixels}"
    if encoder.hardware == "vaapi":
        filters = f"format={pixels.removesuffix('le')},hwupload"
    return [
        *[str(ffmpeg), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+error"],
        *["-progress", "pipe:1", *encoder.global_arguments()],
        *["-f", "lavfi", "-i", "color=c=black:s=256x256:r=25", "-frames:v", "5"],
        *["-filter:v", filters, "-c:v", encoder.name, *encoder.rate_arguments(30, None)],
        *["-f", "null", "-"],
    ]
