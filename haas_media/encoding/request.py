"""The parameters of an encoding, and what can be said of them before anything runs."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from haas_media.encoding.containers import container_of

VideoCodec = Literal["h264", "hevc", "av1", "vp9", "copy"]
Resolution = Literal["source", "480p", "720p", "1080p", "2160p"]
HardwareAcceleration = Literal["none", "auto", "nvenc", "qsv", "vaapi", "amf", "videotoolbox"]
Deinterlace = Literal["auto", "always", "never"]
Hdr = Literal["auto", "keep", "tonemap", "refuse"]
Verify = Literal["quick", "full"]
Quality = Literal["visually lossless", "good", "small"] | StrictInt | StrictFloat

CODEC_NAMES = {"h264": "H.264", "hevc": "HEVC", "av1": "AV1", "vp9": "VP9"}

# Bounds and defaults on the scale of the software encoder (x264, x265, SVT-AV1, libvpx).
CRF_RANGE = {"h264": (0, 51), "hevc": (0, 51), "av1": (0, 63), "vp9": (0, 63)}
DEFAULT_CRF = {"h264": 20, "hevc": 22, "av1": 30, "vp9": 31}

# In VMAF, which is from 0 to 100.
TARGETS = {"visually lossless": 96.0, "good": 93.0, "small": 88.0}
TARGET_RANGE = (60, 99)

# Bits per second. Above: H.264 and HEVC at their highest level; SVT-AV1 takes 100 Mbit/s at most.
BITRATE_RANGE = {
    "h264": (50_000, 240_000_000),
    "hevc": (50_000, 240_000_000),
    "av1": (50_000, 100_000_000),
    "vp9": (50_000, 240_000_000),
}
# What has no meaning for a copy.
_OF_ENCODERS = (
    *("crf", "video_bitrate", "quality", "deinterlace", "hdr", "resolution"),
    "hardware_acceleration",
)
_BITRATE = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*([kKmM]?)(?:bit/s|bps|b/s)?")
_DEVICE = re.compile(r"\d{1,2}|/dev/dri/(?:renderD|card)\d+")


def _refuse_nul(path: str) -> str:
    if "\0" in path:
        raise ValueError("A path cannot hold a NUL character.")
    return path


def _bits_per_second(value: object) -> object:
    """Read a bitrate that is written as text."""
    if not isinstance(value, str):
        return value
    match = _BITRATE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no bitrate: write 2500k, 4M or a number of bits a second.")
    return round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()])


def _known_container(output: str) -> str:
    container_of(output)
    return output


def _known_kind_of_device(device: str) -> str:
    if not _DEVICE.fullmatch(device):
        raise ValueError(
            f"{device!r} is no GPU: give its number (0) or its device (/dev/dri/renderD128)."
        )
    return device


Bitrate = Annotated[StrictInt, BeforeValidator(_bits_per_second)]
Device = Annotated[StrictStr, AfterValidator(_known_kind_of_device)]
PathText = Annotated[StrictStr, Field(min_length=1), AfterValidator(_refuse_nul)]
OutputText = Annotated[PathText, AfterValidator(_known_container)]


class StreamRef(BaseModel):
    """One stream of one input file, by its index in that file (as ``ffprobe`` counts, from 0)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: PathText = Field(description="Path of the file that holds the stream.")
    index: StrictInt = Field(ge=0, description="Index of the stream, from 0.")


def _each_once(streams: list[StreamRef]) -> list[StreamRef]:
    if not streams:
        raise ValueError("The list of streams is empty; name at least one, or give a source.")
    for position, ref in enumerate(streams):
        if ref in streams[:position]:
            raise ValueError(f"Stream {ref.index} of {ref.input!r} is named twice.")
    return streams


class EncodeRequest(BaseModel):
    """What to encode, into what, and how.

    ``video_bitrate`` is in bits per second, and may be given as text such as ``2500k`` or ``4M``.
    Without it and without ``crf`` a constant quality that suits the codec is taken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: PathText | None = Field(
        default=None,
        description="File to encode: all its video, audio and subtitles. Or give streams.",
    )
    streams: Annotated[list[StreamRef], AfterValidator(_each_once)] | None = Field(
        default=None,
        description="Streams to take, of one or several files, in this order. Or give a source.",
    )
    output: OutputText = Field(
        description="File to write, inside a library: .mkv, .mp4, .m4v, .mov or .webm."
    )
    video_codec: VideoCodec = Field(
        default="h264", description="Codec to encode video with; copy keeps it as it is."
    )
    crf: StrictInt | None = Field(
        default=None,
        title="Constant quality (CRF)",
        description="0 is best. H.264 and HEVC up to 51, AV1 and VP9 up to 63. Or give a bitrate.",
    )
    video_bitrate: Bitrate | None = Field(
        default=None, description="Bits per second, or text such as 2500k or 4M. Or give a CRF."
    )
    quality: Quality | None = Field(
        default=None,
        description="What it shall look like: visually lossless, good or small, or a VMAF from "
        "60 to 99. The CRF for it is found on samples. Instead of a CRF or a bitrate.",
    )
    resolution: Resolution = Field(
        default="source", description="Height to scale down to; a smaller picture stays as it is."
    )
    hardware_acceleration: HardwareAcceleration = Field(
        default="none",
        description="Encoder to use when it works here; the report says if software had to do.",
    )
    device: Device | None = Field(
        default=None, description="Which GPU: its number, or a device such as /dev/dri/renderD128."
    )
    deinterlace: Deinterlace = Field(
        default="auto",
        description="auto: video that is interlaced or telecined; always; never: it is coded as it "
        "is.",
    )
    hdr: Hdr = Field(
        default="auto",
        title="HDR",
        description="auto: kept where codec and depth can, else tone-mapped; keep: even where it "
        "shows bands; tonemap: always; refuse: fail where it cannot be kept.",
    )
    allow_loss: StrictBool = Field(
        default=False,
        description="Encode a damaged source too, or Dolby Vision that has no fallback; the report "
        "says what was lost and where.",
    )
    refuse_larger: StrictBool = Field(
        default=False,
        title="Refuse a larger output",
        description="Fail, as soon as it shows, when the output is larger than its source.",
    )
    verify: Verify = Field(
        default="quick",
        description="quick: lengths, properties, and whatever was copied is decoded; full: all of "
        "the output is decoded from the disk and compared with the source at some points.",
    )

    @model_validator(mode="after")
    def _sensible_together(self) -> Self:
        if (self.source is None) == (self.streams is None):
            raise ValueError("Give either a source or a list of streams, not both and not neither.")
        if self.device is not None:
            self._check_device(self.device)
        if self.video_codec == "copy":
            self._check_copy()
        else:
            self._check_encoding(self.video_codec)
        return self

    def _check_device(self, device: str) -> None:
        match self.hardware_acceleration:
            case "none":
                raise ValueError("A device is given, but hardware_acceleration is 'none'.")
            case "nvenc" if not device.isdigit():
                raise ValueError("NVENC counts its GPUs: give a number as device, from 0.")
            case "amf":
                raise ValueError("AMF chooses its GPU itself: leave the device out.")
            case "videotoolbox":
                raise ValueError("VideoToolbox chooses its GPU itself: leave the device out.")

    def _check_copy(self) -> None:
        for name in _OF_ENCODERS:
            value, default = getattr(self, name), EncodeRequest.model_fields[name].default
            kept = name == "hdr" and value != "tonemap"  # as a copy does anyway
            if value != default and not kept:
                raise ValueError(
                    f"{name} has no meaning with video_codec 'copy', which keeps the video as it "
                    f"is: leave {name} out, or choose a codec."
                )

    def _check_encoding(self, codec: str) -> None:
        name = CODEC_NAMES[codec]
        if self.crf is not None and self.video_bitrate is not None:
            raise ValueError("Give either crf or video_bitrate, not both.")
        if self.quality is not None:
            self._check_quality(self.quality)
        if self.crf is not None:
            low, high = CRF_RANGE[codec]
            if not low <= self.crf <= high:
                raise ValueError(f"crf for {name} is from {low} to {high}, not {self.crf}.")
        if self.video_bitrate is not None:
            low, high = BITRATE_RANGE[codec]
            if not low <= self.video_bitrate <= high:
                raise ValueError(
                    f"video_bitrate for {name} is from {low // 1000}k to {high // 1_000_000}M, "
                    f"not {self.video_bitrate / 1000:.9g}k."
                )
        container = container_of(self.output)
        if codec not in container.video:
            held = ", ".join(CODEC_NAMES[held] for held in CODEC_NAMES if held in container.video)
            raise ValueError(
                f"{container.name} does not hold {name}: choose {held} or another ending."
            )

    def _check_quality(self, quality: str | float) -> None:
        if self.crf is not None or self.video_bitrate is not None:
            given = "crf" if self.crf is not None else "video_bitrate"
            raise ValueError(f"Give either quality or {given}, not both: quality finds the crf.")
        low, high = TARGET_RANGE
        if not isinstance(quality, str) and not low <= quality <= high:
            raise ValueError(
                f"quality is 'visually lossless', 'good', 'small' or a VMAF from {low} to {high}, "
                f"not {quality:g}."
            )
        if self.hardware_acceleration != "none":
            raise ValueError(
                "quality is found for software encoders only, which are better at it: set "
                "hardware_acceleration to 'none', or give a crf or video_bitrate."
            )

    @property
    def target(self) -> float | None:
        """The VMAF that is asked for, if one is."""
        if isinstance(self.quality, str):
            return TARGETS[self.quality]
        return None if self.quality is None else float(self.quality)

    @property
    def constant_quality(self) -> int | None:
        """The crf to encode with; None when a bitrate is given or video is copied."""
        if self.video_codec == "copy" or self.video_bitrate is not None:
            return None
        return DEFAULT_CRF[self.video_codec] if self.crf is None else self.crf

    @property
    def height(self) -> int | None:
        """The height in pixels to scale down to; None for the source's own."""
        return None if self.resolution == "source" else int(self.resolution.removesuffix("p"))
