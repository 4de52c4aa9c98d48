"""Which of ffmpeg's encoders is used, and how each is told its quality.

Hardware is used when it really works here, else software.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from haas_media.encoding.errors import EncodingError
from haas_media.encoding.ffmpeg import LOGGED
from haas_media.encoding.request import CODEC_NAMES
from haas_media.encoding.runner import run

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from haas_media.encoding.request import EncodeRequest

_TRIAL_SECONDS = 20.0

SOFTWARE = {
    "h264": ("libx264",),
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
}

# What each kind is called and encodes, in the order in which "auto" tries them.
HARDWARE = {
    "nvenc": ("NVENC", {"h264", "hevc", "av1"}),
    "qsv": ("Quick Sync", {"h264", "hevc", "av1", "vp9"}),
    "vaapi": ("VAAPI", {"h264", "hevc", "av1", "vp9"}),
    "amf": ("AMF", {"h264", "hevc", "av1"}),
    "videotoolbox": ("VideoToolbox", {"h264", "hevc"}),
}

# Speed against size where the encoder's own default is unsuited to files that are kept.
_PRESETS = {
    "libsvtav1": ("-preset", "8"),
    "libaom-av1": ("-cpu-used", "6", "-row-mt", "1"),
    "libvpx-vp9": ("-deadline", "good", "-cpu-used", "2", "-row-mt", "1"),
    # x265 writes its own log past ffmpeg's; errors are enough.
    "libx265": ("-x265-params", "log-level=error"),
}


def kept_bits(codec: str, bit_depth: int) -> int:
    """Tell how many bits a sample has then: 8 or 10; H.264's 8, which everything plays."""
    return 8 if codec == "h264" or bit_depth <= 8 else 10


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder of ffmpeg's. ``hardware`` is the kind of it, None for software."""

    name: str
    codec: str
    hardware: str | None = None
    device: str | None = None

    def global_arguments(self) -> list[str]:
        """List what has to come before the inputs: the device."""
        if self.hardware == "vaapi":
            return ["-vaapi_device", _device_path(self.device or "0")]
        if self.hardware == "qsv" and self.device is not None:
            return ["-qsv_device", _device_path(self.device)]
        return []

    def pixel_format(self, bit_depth: int) -> str:
        """Name the pixel format it is fed with."""
        deep = kept_bits(self.codec, bit_depth) > 8
        if self.hardware is None:
            return "yuv420p10le" if deep else "yuv420p"
        return "p010le" if deep else "nv12"

    def upload_filters(self, bit_depth: int) -> list[str]:
        """List what brings pictures to the hardware, if it does not take them by itself."""
        if self.hardware != "vaapi":
            return []
        return [f"format={self.pixel_format(bit_depth).removesuffix('le')}", "hwupload"]

    def rate_arguments(self, quality: float | None, bitrate: int | None) -> list[str]:
        """List what sets constant quality (on the codec's crf scale) or bitrate (bits a second)."""
        rate = self._constant_quality(quality or 0) if bitrate is None else self._bitrate(bitrate)
        chosen = ["-gpu", self.device] if self.hardware == "nvenc" and self.device else []
        return [*chosen, *rate, *_PRESETS.get(self.name, ())]

    def _bitrate(self, bits: int) -> list[str]:
        if self.hardware is None:
            return ["-b:v", str(bits)]
        # Room for hard scenes: without a ceiling some drivers fall back to constant bitrate.
        ceiling = ["-b:v", str(bits), "-maxrate:v", str(bits * 3 // 2), "-bufsize:v", str(bits * 2)]
        modes = {"nvenc": ["-rc", "vbr"], "vaapi": ["-rc_mode", "VBR"], "amf": ["-rc", "vbr_peak"]}
        return [*modes.get(self.hardware, []), *ceiling]

    def _constant_quality(self, given: float) -> list[str]:
        crf = round(given)
        # AV1 drivers count quantizers from 0 to 255, VP9's too; the others as crf does.
        wide = str(min(255, crf * 4)) if self.codec in {"av1", "vp9"} else str(crf)
        match self.hardware:
            case "nvenc":
                # 0 would mean "choose by yourself".
                return ["-rc", "vbr", "-cq", str(max(1, crf)), "-b:v", "0"]
            case "qsv":
                return ["-global_quality", str(min(51, max(1, crf)))]
            case "vaapi":
                return ["-rc_mode", "CQP", "-global_quality", wide]
            case "amf":
                return ["-rc", "cqp", "-qp_i", wide, "-qp_p", wide]
            case "videotoolbox":
                # Its scale goes the other way: 1 to 100, 100 is best.
                return ["-q:v", str(max(1, 100 - crf * 99 // 51))]
        if self.name in {"libvpx-vp9", "libaom-av1"}:
            # Without a bitrate of 0 crf is only a bound on quality there.
            return ["-crf", str(crf), "-b:v", "0"]
        if self.name == "libsvtav1" and crf == 0:
            # ffmpeg takes its -crf 0 for "not given"; SVT-AV1's own parameter is heard.
            return ["-svtav1-params", "crf=0"]
        return ["-crf", f"{given:g}"]


def _device_path(device: str) -> str:
    return f"/dev/dri/renderD{128 + int(device)}" if device.isdigit() else device


def choose_encoder(
    request: EncodeRequest, ffmpeg: Path, encoders: Collection[str], bit_depth: int
) -> tuple[Encoder | None, str | None]:
    """Choose the encoder for a request, none for a copy.

    Also says why it is not the hardware that was asked for, if it is not: each candidate is tried
    on a few real frames, since what an ffmpeg was built with tells nothing about what the machine
    has. Raises EncodingError when not even software can do it.
    """
    asked, codec = request.hardware_acceleration, request.video_codec
    if codec == "copy":
        return None, None
    if asked == "none":
        return _software(codec, encoders), None
    reasons = []
    for kind in HARDWARE if asked == "auto" else [asked]:
        called, codecs = HARDWARE[kind]
        reason: str | None = f"it has no {CODEC_NAMES[codec]} encoder"
        if codec in codecs:
            encoder = Encoder(f"{codec}_{kind}", codec, kind, request.device)
            reason = _why_not(encoder, ffmpeg, encoders, bit_depth)
            if reason is None:
                return encoder, None
        reasons.append(f"{called}: {reason}")
    encoder = _software(codec, encoders)
    wanted = "Hardware" if asked == "auto" else HARDWARE[asked][0]
    return (
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
        finished = run(_trial_argv(encoder, ffmpeg, bit_depth), timeout=_TRIAL_SECONDS)
    except EncodingError as error:
        return str(error).rstrip(".")
    return None if finished.succeeded else finished.reason


def _trial_argv(encoder: Encoder, ffmpeg: Path, bit_depth: int) -> list[str]:
    """List a command that encodes a few black frames into nothing."""
    filters = encoder.upload_filters(bit_depth) or [f"format={encoder.pixel_format(bit_depth)}"]
    return [
        *(str(ffmpeg), *LOGGED, *encoder.global_arguments()),
        *("-f", "lavfi", "-i", "color=c=black:s=256x256:r=25", "-frames:v", "5"),
        *("-filter:v", ",".join(filters), "-c:v", encoder.name, *encoder.rate_arguments(30, None)),
        *("-f", "null", "-"),
    ]
