"""Small real clips, made with the wheel's ffmpeg, and a library to encode them into."""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import pytest

from haas_media.encoding import EncodeReport, EncodeRequest, EncodingError, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
OLD = b"the file that was there before"

PICTURE = "-f lavfi -i testsrc2=s=160x120:r=25:d=2"
TONE = "-f lavfi -i sine=d=2"
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
X265 = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=error"
_HDR = (
    "hdr10=1:repeat-headers=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)
# How each clip is made; what is not generated is another clip of the folder.
_CLIPS = {
    "cover.png": "-f lavfi -i testsrc2=s=64x64:d=1 -frames:v 1",
    # The film: H.264, AAC, text subtitles.
    "film.mkv": f"{PICTURE} {TONE} -i film.srt -map 0 -map 1 -map 2 {X264} -c:a aac -c:s srt"
    " -metadata:s:a:0 language=eng -metadata:s:s:0 language=deu -metadata 'title=The Film'",
    "film.mp4": "-i film.mkv -map 0:v -map 0:a -c copy",
    "styled.mkv": "-i film.mkv -map 0 -c copy -c:s ass",
    "blu-ray.mkv": "-i film.mkv -i blu-ray.sup -map 0:v -map 0:a -map 1 -c copy",
    "cover.mp4": "-i film.mkv -i cover.png -map 0:v -map 0:a -map 1 -c copy"
    " -disposition:v:1 attached_pic",
    "font.mkv": "-i film.mkv -map 0:v -map 0:a -c copy -attach film.srt"
    " -metadata:s:t mimetype=application/x-truetype-font -metadata:s:t filename=font.ttf",
    "many.mkv": f"{PICTURE} -f lavfi -i testsrc2=s=128x96:r=25:d=2 {TONE} {TONE}"
    f" -map 2 -map 0 -map 3 -map 1 {X264} -c:a:0 flac -c:a:1 aac"
    " -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra",
    "deep.mkv": f"{PICTURE} -t 1 {X265}",
    "hdr.mkv": f"{PICTURE} -t 1 -vf setparams=color_primaries=bt2020:color_trc=smpte2084:"
    f"colorspace=bt2020nc:range=tv {X265}:{_HDR}",
    "odd.mkv": f"{PICTURE} -t 1 -vf format=yuv444p,scale=161:121 -c:v libx264 -preset ultrafast",
    # As high as a 2160p film and more, but narrow: quick to encode.
    "high.mkv": f"-f lavfi -i testsrc2=s=64x2400:r=25:d=0.4 {X264}",
    "anamorphic.mkv": f"-f lavfi -i testsrc2=s=720x576:r=25:d=0.4 -vf setsar=64/45 {X264}",
    "upright.mp4": f"-f lavfi -i testsrc2=s=960x540:r=25:d=0.4 {X264}",
    "turned.mp4": "-display_rotation 90 -i upright.mp4 -c copy",
    "music.flac": f"{TONE} -c:a flac",
    "camera.mov": f"{PICTURE} {TONE} {X264} -c:a pcm_s24be",
    "surround.mkv": f"{PICTURE} -f lavfi"
    f" -i 'anoisesrc=d=2:a=0.01,aformat=channel_layouts=5.1(side)' {X264} -c:a ac3",
    # A minute of work and more: whoever waits for its end waits in vain.
    "scene.mkv": f"-f lavfi -i testsrc2=s=640x480:r=25:d=2 {X264} -crf 45",
    "long.mkv": "-stream_loop 400 -i scene.mkv -c copy",
}
_SUBTITLES = """1
00:00:00,200 --> 00:00:00,900
Hello, <i>world</i>.

2
00:00:01,000 --> 00:00:01,800
Grüße.
"""


def make_clips(folder: Path, clips: Mapping[str, str]) -> None:
    """Make clips from ffmpeg's arguments."""
    for name, arguments in clips.items():
        command = [FFMPEG, "-v", "error", "-nostdin", "-y", *shlex.split(arguments), name]
        subprocess.run(command, cwd=folder, check=True)


def _write_blu_ray_subtitles(path: Path) -> None:
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


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with all the clips. Tests read it only."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "film.srt").write_text(_SUBTITLES, encoding="utf-8")
    _write_blu_ray_subtitles(folder / "blu-ray.sup")
    make_clips(folder, _CLIPS)
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the programs of this machine's PATH but ffmpeg and ffprobe."""
    folder = tmp_path_factory.mktemp("programs")
    found = {
        program.name: program.absolute()
        for place in reversed(os.get_exec_path())
        if Path(place).is_dir()
        for program in Path(place).iterdir()
        if program.name not in ("ffmpeg", "ffprobe")
    }
    for name, program in found.items():
        (folder / name).symlink_to(program)
    return folder


@pytest.fixture(autouse=True)
def _no_other_ffmpeg(monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    """Hold every test to the wheel's ffmpeg, whatever this machine has on its PATH."""
    monkeypatch.delenv("HAAS_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(programs))


def make_program(path: Path, body: str, *encoders: str) -> str:
    """Make an executable that stands in for ffmpeg; it lists encoders as the real one does."""
    listed = "".join(f" V....D {name}  Some\n" for name in encoders or ("libx264",))
    path.write_text(
        f"#!{sys.executable} -S\n"
        "import os, signal, subprocess, sys, time\n"
        "if '-encoders' in sys.argv:\n"
        f"    sys.exit(print({listed!r}))\n"
        f"ffmpeg, target = {FFMPEG!r}, sys.argv[-1].removeprefix('file:')\n"
        "def say(*lines):\n"
        "    print(*lines, sep='\\n', flush=True)\n"
        f"{body}\n"
    )
    path.chmod(0o755)
    return str(path)


@dataclass
class Studio:
    """A library to encode clips into."""

    folder: Path
    clips: Path

    def make(self, name: str, arguments: str) -> Path:
        """Make a clip beside the library, from ffmpeg's arguments."""
        make_clips(self.folder.parent, {name: arguments})
        return self.folder.parent / name

    def program(self, body: str) -> dict[str, str]:
        """Make a stand-in for ffmpeg; give what has ``encode`` run it."""
        return {"ffmpeg": make_program(self.folder.parent / "stand-in", body)}

    def request(self, source: str | Path | None, output: str, **values: Any) -> EncodeRequest:
        """Ask for an encoding of a clip, or of a file anywhere else."""
        named = {} if source is None else {"source": str(self.clips / source)}
        streams = [
            {"input": str(self.clips / name), "index": index}
            for name, index in values.pop("streams", ())
        ]
        chosen = {"streams": streams} if streams else {}
        output = str(self.folder / output)
        return EncodeRequest.model_validate({"output": output, **named, **chosen, **values})

    def encode(
        self, source: str | Path | None, output: str = "out.mkv", *, how: Any = None, **values: Any
    ) -> EncodeReport:
        """Encode. ``how`` are further arguments of ``encode``."""
        request = self.request(source, output, **values)
        return encode(request, **{"roots": [self.folder], **(how or {})})

    def copy(self, source: str | Path, output: str = "out.mkv", **values: Any) -> EncodeReport:
        """Encode without encoding."""
        return self.encode(source, output, video_codec="copy", **values)

    def refuses(
        self, sentence: str, source: str | Path | None, output: str = "out.mkv", **values: Any
    ) -> None:
        """Check that a request is refused with a sentence and has changed nothing."""
        existing = self.folder / output
        existing.write_bytes(OLD)
        before, inode = sorted(self.folder.iterdir()), existing.stat().st_ino
        with pytest.raises(EncodingError, match=sentence):
            self.encode(source, output, **values)
        assert existing.read_bytes() == OLD
        assert existing.stat().st_ino == inode
        assert sorted(self.folder.iterdir()) == before


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Give an empty library."""
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


@pytest.fixture
def studio(library: Path, clips: Path) -> Studio:
    return Studio(library, clips)


@pytest.fixture
def chapters(studio: Studio, tmp_path: Path) -> str:
    """Write chapters; give ffmpeg's arguments for the film with them."""
    (tmp_path / "chapters").write_text(
        ";FFMETADATA1\ntitle=The Film\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n"
    )
    return f"-i {studio.clips / 'film.mkv'} -i chapters -map_metadata 1 -map_chapters 1 -c copy"
