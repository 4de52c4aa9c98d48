"""What the scan keeps of a file's streams, and that nothing but the file itself is read for it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from haas_media.probe.streams import ProbeError, probe
from tests.haas_media.encoding.conftest import make_clips
from tests.http_server import HttpServer, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_clip(path: Path, video: str, audio: str, more: str = "") -> Path:
    picture, tone = (f"-f lavfi -i {made}" for made in ("testsrc=d=0.4:s=64x64:r=5", "sine=d=0.4"))
    make_clips(path.parent, {path.name: f"{picture} {tone} -c:v {video} -c:a {audio} {more}"})
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.ts", "mpeg2video", "mp2")


@pytest.mark.parametrize(
    ("video", "audio", "names"),
    [
        ("libsvtav1", "libopus", ["av1", "opus"]),
        ("libvpx-vp9", "libvorbis", ["vp9", "vorbis"]),
        ("libx264", "aac", ["h264", "aac"]),
    ],
)
def test_a_codec_has_its_own_name_not_that_of_who_reads_it(
    tmp_path: Path, video: str, audio: str, names: list[str]
) -> None:
    found = probe(make_clip(tmp_path / "film.mkv", video, audio))
    assert [stream.to_json().get("codec") for stream in found.streams] == names
    assert [stream.kind for stream in found.streams] == ["video", "audio"]


def test_channels_in_an_order_of_their_own_end_no_process(tmp_path: Path) -> None:
    film = tmp_path / "film.mov"
    sound = "aevalsrc=0|0|0|0|0|0:d=0.4:c=FL+FR+SL+SR+FC+LFE[a]"
    make_clip(film, "mpeg4", "pcm_s16le", f"-filter_complex '{sound}' -map 0:v -map [a]")
    code = (
        "import pathlib, sys; from haas_media.probe.streams import probe\n"
        "print(probe(pathlib.Path(sys.argv[1])).streams[1].channels)"
    )
    read = subprocess.run(
        [sys.executable, "-c", code, film], capture_output=True, check=False, text=True
    )
    assert (read.returncode, read.stdout) == (0, "6\n"), read.stderr


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """Give the address of a server, and what it was asked for."""
    asked: list[str] = []

    def refuse(path: str, *_: object) -> Reply:
        asked.append(path)
        return Reply(404)

    server = HttpServer(refuse)
    yield f"http://127.0.0.1:{server.port}", asked
    server.close()


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{}'\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">
<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4", "film.ts", "film.m3u8"])
@pytest.mark.parametrize("playlist", [HLS, CONCAT, DASH], ids=["hls", "concat", "dash"])
def test_a_playlist_makes_no_other_file_or_address_be_opened(
    tmp_path: Path, clip: Path, requests: tuple[str, list[str]], playlist: str, name: str
) -> None:
    server, asked = requests
    file = tmp_path / name
    for other in (clip.name, str(clip), f"file:{clip}", f"{server}/clip.ts"):
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
        file.write_text(playlist.format(other))
        with pytest.raises(ProbeError):
            probe(file)
    assert asked == []


@pytest.mark.parametrize(
    ("codec", "other", "names"),
    [
        (b"V_MPEG4/ISO/AVC", b"V_XPEG4/ISO/AVC", [None, "aac"]),
        (b"A_AAC", b"A_XAC", ["h264", None]),
    ],
)
def test_a_codec_that_nobody_knows(
    tmp_path: Path, codec: bytes, other: bytes, names: list[str | None]
) -> None:
    file = make_clip(tmp_path / "film.mkv", "libx264", "aac")
    file.write_bytes(file.read_bytes().replace(codec, other))
    found = probe(file)
    assert [stream.to_json().get("codec") for stream in found.streams] == names
    assert [stream.kind for stream in found.streams] == ["video", "audio"]


def test_titles_in_an_encoding_that_nobody_knows(tmp_path: Path) -> None:
    file = make_clip(tmp_path / "film.mkv", "libx264", "aac", "-metadata:s:1 'title=<track>'")
    file.write_bytes(file.read_bytes().replace(b"<track>", b"<tr\xe4ck>"))
    assert [stream.title for stream in probe(file).streams] == [
        None,
        "<tr\N{REPLACEMENT CHARACTER}ck>",
    ]
