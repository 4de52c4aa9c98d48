"""Every kind of encoding, with real ffmpeg on real clips: the command that was run, and the result.

In the commands ``CLIPS`` and ``LIBRARY`` are folders and ``HEAD`` is what all of them begin with.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import pytest

from haas_media.encoding import EncodeReport, EncodeRequest, encode

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "ffmpeg -hide_banner -nostdin -nostats -loglevel level+warning -y -progress pipe:1"
MKV = "-f matroska -protocol_whitelist file,pipe -i file:CLIPS"
MP4 = "-f mov -protocol_whitelist file,pipe -i file:CLIPS"
META = "-map_metadata 0 -map_chapters 0"
TO_MKV = "-f matroska file:LIBRARY/.out.ID.haas-partial.mkv"
TO_MP4 = "-movflags +faststart -f mp4 file:LIBRARY/.out.ID.haas-partial.mp4"
TO_WEBM = "-f webm file:LIBRARY/.out.ID.haas-partial.webm"


@dataclass(frozen=True)
class Case:
    """A request, the command that it leads to, and the streams of its output."""

    name: str
    request: dict[str, Any]
    command: str
    streams: list[str]
    says: list[str] = field(default_factory=list)


CASES = [
    Case(
        "H.264 at the default quality",
        {"source": "film.mkv", "output": "out.mkv"},
        f"{MKV}/film.mkv -map 0:0 -map 0:1 -map 0:2 {META}"
        " -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p -c:a:0 copy -c:s:0 copy " + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng", "subrip deu"],
    ),
    Case(
        "HEVC by crf, tagged for Apple's players",
        {"source": "film.mp4", "output": "out.mp4", "video_codec": "hevc", "crf": 30},
        f"{MP4}/film.mp4 -map 0:0 -map 0:1 {META} -c:v libx265 -crf 30"
        " -x265-params log-level=error -pix_fmt:v:0 yuv420p -tag:v:0 hvc1 -c:a:0 copy " + TO_MP4,
        ["hevc 160x120 yuv420p hvc1", "aac eng"],
    ),
    Case(
        "AV1 by crf",
        {"source": "film.mp4", "output": "out.mkv", "video_codec": "av1", "crf": 45},
        f"{MP4}/film.mp4 -map 0:0 -map 0:1 {META} -c:v libsvtav1 -crf 45 -preset 8"
        " -pix_fmt:v:0 yuv420p -c:a:0 copy " + TO_MKV,
        ["av1 160x120 yuv420p", "aac eng"],
    ),
    Case(
        "AV1 at crf 0, which ffmpeg alone would take for not given",
        {"source": "film.mp4", "output": "out.mp4", "video_codec": "av1", "crf": 0},
        f"{MP4}/film.mp4 -map 0:0 -map 0:1 {META} -c:v libsvtav1 -svtav1-params crf=0 -preset 8"
        " -pix_fmt:v:0 yuv420p -c:a:0 copy " + TO_MP4,
        ["av1 160x120 yuv420p", "aac eng"],
    ),
    Case(
        "VP9 into WebM: audio becomes Opus, subtitles WebVTT",
        {"source": "film.mkv", "output": "out.webm", "video_codec": "vp9"},
        f"{MKV}/film.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v libvpx-vp9 -crf 31 -b:v 0"
        " -deadline good -cpu-used 2 -row-mt 1 -pix_fmt:v:0 yuv420p -c:a:0 libopus -b:a:0 96k"
        " -filter:a:0 'aformat=channel_layouts=7.1|5.1|stereo|mono' -c:s:0 webvtt " + TO_WEBM,
        ["vp9 160x120 yuv420p", "opus eng", "webvtt deu"],
    ),
    Case(
        "copy: another container, not a pixel changed",
        {"source": "film.mkv", "output": "out.mkv", "video_codec": "copy"},
        f"{MKV}/film.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v copy -c:a:0 copy -c:s:0 copy "
        + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng", "subrip deu"],
    ),
    Case(
        "copy of HEVC into MP4 gets the tag too",
        {"source": "deep.mkv", "output": "out.mp4", "video_codec": "copy"},
        f"{MKV}/deep.mkv -map 0:0 {META} -c:v copy -tag:v:0 hvc1 " + TO_MP4,
        ["hevc 160x120 yuv420p10le hvc1"],
    ),
    Case(
        "H.264 by bitrate",
        {"source": "film.mp4", "output": "out.mkv", "video_bitrate": "250k"},
        f"{MP4}/film.mp4 -map 0:0 -map 0:1 {META} -c:v libx264 -b:v 250000"
        " -pix_fmt:v:0 yuv420p -c:a:0 copy " + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng"],
    ),
    *(
        Case(
            f"{codec} by bitrate",
            {"source": "deep.mkv", "output": "o.mkv", "video_codec": codec, "video_bitrate": 99000},
            f"{MKV}/deep.mkv -map 0:0 {META} -c:v {encoder} -b:v 99000{more}"
            " -pix_fmt:v:0 yuv420p10le -f matroska file:LIBRARY/.o.ID.haas-partial.mkv",
            [f"{codec} 160x120 yuv420p10le"],
        )
        for codec, encoder, more in (
            ("hevc", "libx265", " -x265-params log-level=error"),
            ("av1", "libsvtav1", " -preset 8"),
            ("vp9", "libvpx-vp9", " -deadline good -cpu-used 2 -row-mt 1"),
        )
    ),
    *(
        Case(
            f"down to {height}p",
            {"source": "high.mkv", "output": "out.mkv", "resolution": f"{height}p"},
            f"{MKV}/high.mkv -map 0:0 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
            f" -filter:v:0 scale=-2:{height},setsar=1 " + TO_MKV,
            [f"h264 {width}x{height} yuv420p"],
        )
        for width, height in ((12, 480), (20, 720), (28, 1080), (58, 2160))
    ),
    Case(
        "never up",
        {"source": "film.mp4", "output": "out.mkv", "resolution": "480p"},
        f"{MP4}/film.mp4 -map 0:0 -map 0:1 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
        " -c:a:0 copy " + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng"],
    ),
    Case(
        "an odd size becomes even",
        {"source": "odd.mkv", "output": "out.mkv"},
        f"{MKV}/odd.mkv -map 0:0 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
        " -filter:v:0 'crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0' " + TO_MKV,
        ["h264 160x120 yuv420p"],
    ),
    Case(
        "an anamorphic picture keeps its shape",
        {"source": "anamorphic.mkv", "output": "out.mkv", "resolution": "480p"},
        f"{MKV}/anamorphic.mkv -map 0:0 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
        " -filter:v:0 scale=-2:480 " + TO_MKV,
        ["h264 600x480 yuv420p 64:45"],
    ),
    Case(
        "a picture turned by a quarter is as high as it is shown",
        {"source": "turned.mp4", "output": "out.mp4", "resolution": "720p"},
        f"{MP4}/turned.mp4 -map 0:0 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
        " -filter:v:0 scale=-2:720,setsar=1 " + TO_MP4,
        ["h264 406x720 yuv420p"],
    ),
    Case(
        "streams of two inputs, by their real index",
        {
            "streams": [("many.mkv", 3), ("film.mkv", 1), ("many.mkv", 2), ("film.mkv", 2)],
            "output": "out.mkv",
        },
        f"{MKV}/many.mkv {MKV}/film.mkv -map 0:3 -map 1:1 -map 0:2 -map 1:2 {META}"
        " -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p -c:a:0 copy -c:a:1 copy -c:s:0 copy " + TO_MKV,
        ["h264 128x96 yuv420p", "aac eng", "aac fra", "subrip deu"],
    ),
    Case(
        "subtitles from a file of their own",
        {"streams": [("film.mkv", 0), ("film.srt", 0)], "output": "out.mp4"},
        f"{MKV}/film.mkv -f srt -protocol_whitelist file,pipe -i file:CLIPS/film.srt"
        f" -map 0:0 -map 1:0 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
        " -c:s:0 mov_text " + TO_MP4,
        ["h264 160x120 yuv420p", "mov_text"],
    ),
    Case(
        "an attached picture is not video",
        {"source": "cover.mp4", "output": "out.mkv"},
        f"{MP4}/cover.mp4 -map 0:0 -map 0:1 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p"
        " -c:a:0 copy " + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng"],
        ["Stream left out: 2 (a picture, not video)."],
    ),
    Case(
        "several video and audio streams, audio first",
        {"source": "many.mkv", "output": "out.mp4"},
        f"{MKV}/many.mkv -map 0:0 -map 0:1 -map 0:2 -map 0:3 {META} -c:v libx264 -crf 20"
        " -pix_fmt:v:0 yuv420p -pix_fmt:v:1 yuv420p -c:a:0 copy -c:a:1 copy " + TO_MP4,
        ["flac eng", "h264 160x120 yuv420p", "aac fra", "h264 128x96 yuv420p"],
    ),
    Case(
        "text subtitles into MP4",
        {"source": "film.mkv", "output": "out.mp4"},
        f"{MKV}/film.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v libx264 -crf 20"
        " -pix_fmt:v:0 yuv420p -c:a:0 copy -c:s:0 mov_text " + TO_MP4,
        ["h264 160x120 yuv420p", "aac eng", "mov_text deu"],
    ),
    Case(
        "styled subtitles stay in Matroska",
        {"source": "styled.mkv", "output": "out.mkv", "video_codec": "copy"},
        f"{MKV}/styled.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v copy -c:a:0 copy -c:s:0 copy "
        + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng", "ass deu"],
    ),
    Case(
        "styled subtitles lose their styles in MP4, which is said",
        {"source": "styled.mkv", "output": "out.mp4", "video_codec": "copy"},
        f"{MKV}/styled.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v copy -c:a:0 copy"
        " -c:s:0 mov_text " + TO_MP4,
        ["h264 160x120 yuv420p", "aac eng", "mov_text deu"],
        ["Subtitles 2 lose their styles as mov_text."],
    ),
    Case(
        "bitmap subtitles stay in Matroska",
        {"source": "blu-ray.mkv", "output": "out.mkv"},
        f"{MKV}/blu-ray.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v libx264 -crf 20"
        " -pix_fmt:v:0 yuv420p -c:a:0 copy -c:s:0 copy " + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng", "hdmv_pgs_subtitle"],
    ),
    Case(
        "fonts go along in Matroska",
        {"source": "font.mkv", "output": "out.mkv", "video_codec": "copy"},
        f"{MKV}/font.mkv -map 0:0 -map 0:1 -map 0:2 {META} -c:v copy -c:a:0 copy -c:t:0 copy "
        + TO_MKV,
        ["h264 160x120 yuv420p", "aac eng", "attachment"],
    ),
    Case(
        "a 10-bit source becomes H.264 that everything plays",
        {"source": "deep.mkv", "output": "out.mp4"},
        f"{MKV}/deep.mkv -map 0:0 {META} -c:v libx264 -crf 20 -pix_fmt:v:0 yuv420p " + TO_MP4,
        ["h264 160x120 yuv420p"],
    ),
    *(
        Case(
            f"a 10-bit source keeps its bits in {codec}",
            {"source": "deep.mkv", "output": "out.mkv", "video_codec": codec},
            f"{MKV}/deep.mkv -map 0:0 {META} -c:v {arguments} -pix_fmt:v:0 yuv420p10le " + TO_MKV,
            [f"{codec} 160x120 yuv420p10le"],
        )
        for codec, arguments in (
            ("hevc", "libx265 -crf 22 -x265-params log-level=error"),
            ("av1", "libsvtav1 -crf 30 -preset 8"),
            ("vp9", "libvpx-vp9 -crf 31 -b:v 0 -deadline good -cpu-used 2 -row-mt 1"),
        )
    ),
    Case(
        "5.1 sound with side speakers into WebM",
        {"source": "surround.mkv", "output": "out.webm", "video_codec": "vp9"},
        f"{MKV}/surround.mkv -map 0:0 -map 0:1 {META} -c:v libvpx-vp9 -crf 31 -b:v 0"
        " -deadline good -cpu-used 2 -row-mt 1 -pix_fmt:v:0 yuv420p -c:a:0 libopus -b:a:0 384k"
        " -filter:a:0 'aformat=channel_layouts=7.1|5.1|stereo|mono' " + TO_WEBM,
        ["vp9 160x120 yuv420p", "opus"],
    ),
    Case(
        "uncompressed sound that Matroska does not hold loses nothing",
        {"source": "camera.mov", "output": "out.mkv", "video_codec": "copy"},
        f"{MP4}/camera.mov -map 0:0 -map 0:1 {META} -c:v copy -c:a:0 flac " + TO_MKV,
        ["h264 160x120 yuv420p", "flac"],
    ),
    Case(
        "uncompressed sound becomes AAC in MP4",
        {"source": "camera.mov", "output": "out.mp4", "video_codec": "copy"},
        f"{MP4}/camera.mov -map 0:0 -map 0:1 {META} -c:v copy -c:a:0 aac -b:a:0 96k " + TO_MP4,
        ["h264 160x120 yuv420p", "aac"],
    ),
    Case(
        "sound alone is copied",
        {"source": "music.flac", "output": "out.mkv", "video_codec": "copy"},
        "-f flac -protocol_whitelist file,pipe -i file:CLIPS/music.flac -map 0:0 "
        f"{META} -c:a:0 copy " + TO_MKV,
        ["flac"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, clips: Path, library: Path) -> None:
    report = encode(_request(case.request, clips, library), roots=[library])

    assert _command(report, clips, library) == shlex.split(f"{HEAD} {case.command}")
    assert _streams(report.output) == case.streams
    assert list(report.warnings) == case.says
    assert [path.name for path in library.iterdir()] == [case.request["output"]]


def _request(values: dict[str, Any], clips: Path, library: Path) -> EncodeRequest:
    placed = dict(values) | {"output": str(library / values["output"])}
    if "source" in placed:
        placed["source"] = str(clips / placed["source"])
    else:
        placed["streams"] = [
            {"input": str(clips / name), "index": index} for name, index in placed["streams"]
        ]
    return EncodeRequest.model_validate(placed)


def _command(report: EncodeReport, clips: Path, library: Path) -> list[str]:
    shown = ["ffmpeg"]
    for argument in report.argv[1:]:
        plain = argument.replace(str(clips), "CLIPS").replace(str(library), "LIBRARY")
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
