"""Every kind of encoding, with real ffmpeg on real clips: the command, and what comes of it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.encoding import EncodeReport
    from tests.haas_media.encoding.conftest import Studio

HEAD = "ffmpeg -hide_banner -nostdin -nostats -loglevel level+info"
HEAD += " -progress pipe:1 -y"
READ = "-err_detect crccheck -f"
META = "-map_metadata 0 -map_chapters 0"
FORMATS = {"mkv": "matroska", "mp4": "mov", "mov": "mov", "srt": "srt", "flac": "flac"}
X264 = "-c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
MUXERS = {"mkv": "-f matroska", "mp4": "-movflags +faststart -f mp4", "webm": "-f webm"}

# What codecs of 10 bits are encoded with.
DEEP = [
    ("hevc", "libx265", "-crf 22", "-x265-params log-level=error"),
    ("av1", "libsvtav1", "-crf 30", "-preset 8"),
    ("vp9", "libvpx-vp9", "-crf 31 -b:v 0", "-deadline good -cpu-used 2 -row-mt 1"),
]


@dataclass(frozen=True)
class Case:
    """A request, the command that it leads to, and the streams of its output.

    Of the command there are the clips that are read, which streams are mapped, and the options.
    """

    name: str
    request: dict[str, Any]
    command: str
    streams: list[str]
    says: list[str] = field(default_factory=list)


CASES = [
    Case(
        "H.264 at the default quality",
        {"source": "film.mkv", "output": "out.mkv"},
        f"film.mkv 0:0 0:1 0:2 | {X264} -c:a:0 copy -c:s:0 copy",
        ["h264 160x120 yuv420p", "aac eng", "subrip deu"],
    ),
    Case(
        "HEVC by crf, tagged for Apple's players",
        {"source": "film.mp4", "output": "out.mp4", "video_codec": "hevc", "crf": 30},
        "film.mp4 0:0 0:1 | -c:v libx265 -crf 30 -x265-params log-level=error -pix_fmt:v:0"
        " yuv420p -tag:v:0 hvc1 -c:a:0 copy",
        ["hevc 160x120 yuv420p hvc1", "aac eng"],
    ),
    Case(
        "AV1 at crf 0, which ffmpeg alone would take for not given",
        {"source": "film.mp4", "output": "out.mp4", "video_codec": "av1", "crf": 0},
        "film.mp4 0:0 0:1 | -c:v libsvtav1 -svtav1-params crf=0 -preset 8 -pix_fmt:v:0"
        " yuv420p -c:a:0 copy",
        ["av1 160x120 yuv420p", "aac eng"],
    ),
    Case(
        "VP9 into WebM: audio becomes Opus, subtitles WebVTT",
        {"source": "film.mkv", "output": "out.webm", "video_codec": "vp9"},
        "film.mkv 0:0 0:1 0:2 | -c:v libvpx-vp9 -crf 31 -b:v 0 -deadline good -cpu-used 2"
        " -row-mt 1 -pix_fmt:v:0 yuv420p -c:a:0 libopus -b:a:0 96k -filter:a:0"
        " 'aformat=channel_layouts=stereo|mono' -c:s:0 webvtt",
        ["vp9 160x120 yuv420p", "opus eng", "webvtt deu"],
    ),
    Case(
        "copy: another container, not a pixel changed",
        {"source": "film.mkv", "output": "out.mkv", "video_codec": "copy"},
        "film.mkv 0:0 0:1 0:2 | -c:v copy -c:a:0 copy -c:s:0 copy",
        ["h264 160x120 yuv420p", "aac eng", "subrip deu"],
    ),
    Case(
        "copy of HEVC into MP4 gets the tag too",
        {"source": "deep.mkv", "output": "out.mp4", "video_codec": "copy"},
        "deep.mkv 0:0 | -c:v copy -tag:v:0 hvc1",
        ["hevc 160x120 yuv420p10le hvc1"],
    ),
    Case(
        "H.264 by bitrate",
        {"source": "film.mp4", "output": "out.mkv", "video_bitrate": "250k"},
        "film.mp4 0:0 0:1 | -c:v libx264 -b:v 250000 -pix_fmt:v:0 yuv420p -c:a:0 copy",
        ["h264 160x120 yuv420p", "aac eng"],
    ),
    *(
        Case(
            f"{codec} by bitrate",
            {
                "source": "deep.mkv",
                "output": "out.mkv",
                "video_codec": codec,
                "video_bitrate": 99000,
            },
            f"deep.mkv 0:0 | -c:v {encoder} -b:v 99000 {options} -pix_fmt:v:0 yuv420p10le",
            [f"{codec} 160x120 yuv420p10le"],
        )
        for codec, encoder, _, options in DEEP
    ),
    *(
        Case(
            f"down to {height}p",
            {"source": "high.mkv", "output": "out.mkv", "resolution": f"{height}p"},
            f"high.mkv 0:0 | {X264} -filter:v:0 {first}scale=-2:{height},setsar=1",
            [f"h264 {width}x{height} yuv420p"],
        )
        for width, height, first in (
            (12, 480, "setparams=color_primaries=1:color_trc=1:colorspace=1,"),
            *((20, 720, ""), (28, 1080, ""), (58, 2160, "")),
        )
    ),
    Case(
        "never up",
        {"source": "film.mp4", "output": "out.mkv", "resolution": "480p"},
        f"film.mp4 0:0 0:1 | {X264} -c:a:0 copy",
        ["h264 160x120 yuv420p", "aac eng"],
    ),
    Case(
        "an odd size becomes even",
        {"source": "odd.mkv", "output": "out.mkv"},
        f"odd.mkv 0:0 | {X264} -filter:v:0 'crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0'",
        ["h264 160x120 yuv420p"],
    ),
    Case(
        "an anamorphic picture keeps its shape",
        {"source": "anamorphic.mkv", "output": "out.mkv", "resolution": "480p"},
        f"anamorphic.mkv 0:0 | {X264} -filter:v:0 scale=-2:480",
        ["h264 600x480 yuv420p 64:45"],
    ),
    Case(
        "a picture turned by a quarter is as high as it is shown",
        {"source": "turned.mp4", "output": "out.mp4", "resolution": "720p"},
        f"turned.mp4 0:0 | {X264} -filter:v:0 scale=-2:720,setsar=1",
        ["h264 406x720 yuv420p"],
    ),
    Case(
        "streams of two inputs, by their real index",
        {
            "streams": [("many.mkv", 3), ("film.mkv", 1), ("many.mkv", 2), ("film.mkv", 2)],
            "output": "out.mkv",
        },
        f"many.mkv film.mkv 0:3 1:1 0:2 1:2 | {X264} -c:a:0 copy -c:a:1 copy -c:s:0 copy"
        " -disposition:a:0 0 -disposition:a:1 0",
        ["h264 128x96 yuv420p", "aac eng", "aac fra", "subrip deu"],
    ),
    Case(
        "subtitles from a file of their own",
        {"streams": [("film.mkv", 0), ("film.srt", 0)], "output": "out.mp4"},
        f"film.mkv film.srt 0:0 1:0 | {X264} -c:s:0 mov_text",
        ["h264 160x120 yuv420p", "mov_text"],
    ),
    Case(
        "an attached picture is not video",
        {"source": "cover.mp4", "output": "out.mkv"},
        f"cover.mp4 0:0 0:1 | {X264} -c:a:0 copy",
        ["h264 160x120 yuv420p", "aac eng"],
        ["Stream left out: 2 (a picture, not video)."],
    ),
    Case(
        "several video and audio streams, audio first",
        {"source": "many.mkv", "output": "out.mp4"},
        f"many.mkv 0:0 0:1 0:2 0:3 | {X264} -pix_fmt:v:1 yuv420p -c:a:0 copy -strict experimental"
        " -c:a:1 copy",
        ["flac eng", "h264 160x120 yuv420p", "aac fra", "h264 128x96 yuv420p"],
    ),
    Case(
        "styled subtitles lose their styles in MP4, which is said",
        {"source": "styled.mkv", "output": "out.mp4", "video_codec": "copy"},
        "styled.mkv 0:0 0:1 0:2 | -c:v copy -c:a:0 copy -c:s:0 mov_text",
        ["h264 160x120 yuv420p", "aac eng", "mov_text deu"],
        ["Subtitles 2 lose their styles as mov_text."],
    ),
    Case(
        "bitmap subtitles stay in Matroska",
        {"source": "blu-ray.mkv", "output": "out.mkv"},
        f"blu-ray.mkv 0:0 0:1 0:2 | {X264} -c:a:0 copy -c:s:0 copy",
        ["h264 160x120 yuv420p", "aac eng", "hdmv_pgs_subtitle"],
    ),
    Case(
        "fonts go along in Matroska",
        {"source": "font.mkv", "output": "out.mkv", "video_codec": "copy"},
        "font.mkv 0:0 0:1 0:2 | -c:v copy -c:a:0 copy -c:t:0 copy",
        ["h264 160x120 yuv420p", "aac eng", "attachment"],
    ),
    Case(
        "a 10-bit source becomes H.264 that everything plays",
        {"source": "deep.mkv", "output": "out.mp4"},
        f"deep.mkv 0:0 | {X264}",
        ["h264 160x120 yuv420p"],
    ),
    *(
        Case(
            f"a 10-bit source keeps its bits in {codec}",
            {"source": "deep.mkv", "output": "out.mkv", "video_codec": codec},
            f"deep.mkv 0:0 | -c:v {encoder} {quality} {options} -pix_fmt:v:0 yuv420p10le",
            [f"{codec} 160x120 yuv420p10le"],
        )
        for codec, encoder, quality, options in DEEP
    ),
    Case(
        "5.1 sound with side speakers into WebM",
        {"source": "surround.mkv", "output": "out.webm", "video_codec": "vp9"},
        "surround.mkv 0:0 0:1 | -c:v libvpx-vp9 -crf 31 -b:v 0 -deadline good -cpu-used 2"
        " -row-mt 1 -pix_fmt:v:0 yuv420p -c:a:0 libopus -b:a:0 384k -filter:a:0"
        " aformat=channel_layouts=5.1",
        ["vp9 160x120 yuv420p", "opus"],
    ),
    Case(
        "uncompressed sound that Matroska does not hold loses nothing",
        {"source": "camera.mov", "output": "out.mkv", "video_codec": "copy"},
        "camera.mov 0:0 0:1 | -c:v copy -c:a:0 flac",
        ["h264 160x120 yuv420p", "flac"],
    ),
    Case(
        "sound alone is copied",
        {"source": "music.flac", "output": "out.mkv", "video_codec": "copy"},
        "music.flac 0:0 | -c:a:0 copy",
        ["flac"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, studio: Studio) -> None:
    report = studio.encode(**{"source": None, **case.request})

    assert _command(report, studio) == _expected(case)
    assert _streams(report.output) == case.streams
    assert list(report.warnings) == case.says
    assert [path.name for path in studio.folder.iterdir()] == [case.request["output"]]


def _expected(case: Case) -> list[str]:
    read, _, options = case.command.partition(" | ")
    suffix = case.request["output"].rpartition(".")[2]
    command = HEAD
    for word in read.split():
        if ":" in word:
            command += f" -map {word}"
        else:
            kind = FORMATS[word.rpartition(".")[2]]
            command += f" {READ} {kind} -protocol_whitelist file,pipe -i file:CLIPS/{word}"
    target = f"file:LIBRARY/.out.ID.haas-partial.{suffix}"
    return shlex.split(f"{command} {META} {options} {MUXERS[suffix]} {target}")


def _command(report: EncodeReport, studio: Studio) -> list[str]:
    shown = ["ffmpeg"]
    for argument in report.argv[1:]:
        plain = argument.replace(str(studio.clips), "CLIPS").replace(str(studio.folder), "LIBRARY")
        shown.append(re.sub(r"\.[0-9a-f]{16}\.haas-partial", ".ID.haas-partial", plain))
    return shown


def _streams(path: Path) -> list[str]:
    described = []
    with av.open(str(path)) as container:
        for stream in container.streams:
            context = stream.codec_context
            if context is None:
                described.append(stream.type)
                continue
            parts = [context.codec.canonical_name]
            if stream.type == "video":
                assert stream.frames or sum(1 for _ in container.decode(stream)) > 0
                container.seek(0)
                parts += [f"{context.width}x{context.height}", context.pix_fmt]
                if context.codec_tag == "hvc1":
                    parts.append("hvc1")
                if stream.sample_aspect_ratio not in (None, 1):
                    ratio = stream.sample_aspect_ratio
                    parts.append(f"{ratio.numerator}:{ratio.denominator}")
            language = stream.metadata.get("language", "und")
            if stream.type != "video" and language != "und":
                parts.append(language)
            described.append(" ".join(parts))
    return described
