"""Small real clips, made once with the wheel's ffmpeg."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import imageio_ffmpeg
import pytest

if TYPE_CHECKING:
    from pathlib import Path

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()

SUBTITLES = """1
00:00:00,200 --> 00:00:00,900
Hello, <i>world</i>.

2
00:00:01,000 --> 00:00:01,800
Grüße.
"""


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-nostdin", "-y", *arguments], check=True, timeout=120)


def picture(size: str = "160x120", seconds: float = 2, rate: int = 25) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def tone(pitch: int = 440, seconds: float = 2) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=frequency={pitch}:duration={seconds}"]


def pgs(path: Path) -> None:
    """Write bitmap subtitles as on a Blu-ray: one black square, shown and taken away."""

    def segment(kind: int, milliseconds: int, body: bytes) -> bytes:
        time = milliseconds * 90
        return b"PG" + struct.pack(">IIBH", time, time, kind, len(body)) + body

    def composition(number: int, state: int, objects: bytes, count: int) -> bytes:
        return struct.pack(">HHBHBBBB", 160, 120, 16, number, state, 0, 0, count) + objects

    window = struct.pack(">BBHHHH", 1, 0, 0, 0, 8, 2)
    palette = struct.pack(">BB", 0, 0) + bytes((1, 16, 128, 128, 255))
    line = bytes((0, 0x80 | 8, 1, 0, 0))
    lines = line * 2
    bitmap = struct.pack(">HBB", 0, 0, 0xC0) + (len(lines) + 4).to_bytes(3, "big")
    bitmap += struct.pack(">HH", 8, 2) + lines
    shown = composition(0, 0x80, struct.pack(">HBBHH", 0, 0, 0, 0, 0), 1)
    path.write_bytes(
        segment(0x16, 200, shown)
        + segment(0x17, 200, window)
        + segment(0x14, 200, palette)
        + segment(0x15, 200, bitmap)
        + segment(0x80, 200, b"")
        + segment(0x16, 1500, composition(1, 0, b"", 0))
        + segment(0x17, 1500, window)
        + segment(0x80, 1500, b"")
    )


X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def _make_clips(folder: Path) -> None:
    srt = folder / "film.srt"
    srt.write_text(SUBTITLES, encoding="utf-8")
    pgs(folder / "blu-ray.sup")
    cover = folder / "cover.png"
    ffmpeg(*picture("64x64", 1, 1), "-frames:v", "1", cover)

    av = (*picture(), *tone())
    # The film: H.264, AAC, text subtitles.
    ffmpeg(
        *av, "-i", srt, "-map", "0", "-map", "1", "-map", "2", *X264, "-c:a", "aac", "-c:s", "srt",
        "-metadata:s:a:0", "language=eng", "-metadata:s:s:0", "language=deu",
        "-metadata", "title=The Film", folder / "film.mkv",
    )  # fmt: skip
    film = ("-i", folder / "film.mkv")
    ffmpeg(*film, "-map", "0:v", "-map", "0:a", "-c", "copy", folder / "film.mp4")
    ffmpeg(*film, "-map", "0", "-c", "copy", "-c:s", "ass", folder / "styled.mkv")
    ffmpeg(
        *film, "-i", folder / "blu-ray.sup", "-map", "0:v", "-map", "0:a", "-map", "1",
        "-c", "copy", folder / "blu-ray.mkv",
    )  # fmt: skip
    ffmpeg(
        *film, "-i", cover, "-map", "0:v", "-map", "0:a", "-map", "1",
        "-c", "copy", "-disposition:v:1", "attached_pic", folder / "cover.mp4",
    )  # fmt: skip
    ffmpeg(
        *film, "-map", "0:v", "-map", "0:a", "-c", "copy", "-attach", srt,
        "-metadata:s:t", "mimetype=application/x-truetype-font",
        "-metadata:s:t", "filename=font.ttf", folder / "font.mkv",
    )  # fmt: skip
    ffmpeg(
        *picture(), *picture("128x96"), *tone(330), *tone(550),
        "-map", "2", "-map", "0", "-map", "3", "-map", "1", *X264,
        "-c:a:0", "flac", "-c:a:1", "aac",
        "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", folder / "many.mkv",
    )  # fmt: skip
    ffmpeg(
        *picture(seconds=1), "-c:v", "libx265", "-x265-params", "log-level=error",
        "-pix_fmt", "yuv420p10le", folder / "deep.mkv",
    )  # fmt: skip
    ffmpeg(
        *picture(seconds=1), "-vf", "setparams=color_primaries=bt2020:color_trc=smpte2084:"
        "colorspace=bt2020nc:range=tv", "-c:v", "libx265", "-pix_fmt", "yuv420p10le",
        "-x265-params", "log-level=error:hdr10=1:repeat-headers=1:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
        folder / "hdr.mkv",
    )  # fmt: skip
    ffmpeg(
        *picture("160x120", 1), "-vf", "format=yuv444p,scale=161:121", "-c:v", "libx264",
        folder / "odd.mkv",
    )  # fmt: skip
    # As high as a 2160p film and more, but narrow: quick to encode.
    ffmpeg(*picture("64x2400", 0.4), *X264, folder / "high.mkv")
    ffmpeg(*picture("720x576", 0.4), "-vf", "setsar=64/45", *X264, folder / "anamorphic.mkv")
    ffmpeg(*picture("960x540", 0.4), *X264, folder / "upright.mp4")
    ffmpeg(
        "-display_rotation", "90", "-i", folder / "upright.mp4", "-c", "copy", folder / "turned.mp4"
    )
    ffmpeg(*tone(), "-c:a", "flac", folder / "music.flac")
    ffmpeg(*av, *X264, "-c:a", "pcm_s24be", folder / "camera.mov")
    ffmpeg(
        *picture(), "-f", "lavfi", "-i", "anoisesrc=d=2:a=0.01,aformat=channel_layouts=5.1(side)",
        *X264, "-c:a", "ac3", folder / "surround.mkv",
    )  # fmt: skip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with all the clips. Tests read it only."""
    folder = tmp_path_factory.mktemp("clips")
    _make_clips(folder)
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Give an empty library."""
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _no_other_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every test to the wheel's ffmpeg, whatever this machine has on its PATH."""
    monkeypatch.delenv("HAAS_FFMPEG", raising=False)
    if shutil.which("ffmpeg"):
        monkeypatch.setenv("PATH", "/nowhere")
