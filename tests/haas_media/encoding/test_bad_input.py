"""What cannot be encoded is refused with a sentence, and an existing output is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodeRequest, EncodingError, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD = b"the file that was there before"


@pytest.fixture
def output(library: Path) -> Path:
    """Give an output that exists already."""
    path = library / "out.mkv"
    path.write_bytes(OLD)
    return path


def refused(output: Path, sentence: str, **values: object) -> None:
    """Check that a request is refused with a sentence and has changed nothing."""
    before = sorted(output.parent.iterdir())
    inode = output.stat().st_ino
    request = EncodeRequest.model_validate({"output": str(output), **values})
    with pytest.raises(EncodingError, match=sentence):
        encode(request, roots=[output.parent])
    assert output.read_bytes() == OLD
    assert output.stat().st_ino == inode
    assert sorted(output.parent.iterdir()) == before


def test_missing(output: Path) -> None:
    refused(output, "There is no file '.*nowhere.mkv'", source=str(output.parent / "nowhere.mkv"))


def test_folder(output: Path, clips: Path) -> None:
    refused(output, "is not a file", source=str(clips))


def test_named_pipe(output: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mkv")
    refused(output, "is not a file", source=str(tmp_path / "pipe.mkv"))


def test_empty(output: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mkv").touch()
    refused(output, "is empty", source=str(tmp_path / "empty.mkv"))


def test_junk(output: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(bytes(range(256)) * 400)
    refused(output, "is not a media file that can be read", source=str(tmp_path / "junk.mp4"))


def test_text_named_as_a_film(output: Path, tmp_path: Path) -> None:
    (tmp_path / "note.mkv").write_text("not a film\n" * 100)
    refused(output, "is not a media file that can be read", source=str(tmp_path / "note.mkv"))


def test_moov_less(output: Path, clips: Path, tmp_path: Path) -> None:
    whole = (clips / "film.mp4").read_bytes()
    cut = tmp_path / "moovless.mp4"
    cut.write_bytes(whole[: whole.rindex(b"moov") - 4])
    refused(output, "is not a media file that can be read", source=str(cut))


@pytest.mark.parametrize("share", [0.95, 0.8, 0.5, 0.3])
@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_truncated_matroska(
    output: Path, clips: Path, tmp_path: Path, share: float, codec: str
) -> None:
    whole = (clips / "film.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(output, "ends too early|truncated or damaged", source=str(cut), video_codec=codec)


@pytest.mark.parametrize("share", [0.95, 0.8, 0.5])
@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_truncated_mp4(output: Path, clips: Path, tmp_path: Path, share: float, codec: str) -> None:
    front = tmp_path / "front.mp4"
    _run_ffmpeg("-i", clips / "film.mp4", "-c", "copy", "-movflags", "+faststart", front)
    whole = front.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(output, "ends too early|truncated or damaged", source=str(cut), video_codec=codec)


def test_zeros_where_the_second_half_should_be(output: Path, clips: Path, tmp_path: Path) -> None:
    """What an interrupted download leaves that reserved its space first."""
    front = tmp_path / "front.mp4"
    _run_ffmpeg("-i", clips / "film.mp4", "-c", "copy", "-movflags", "+faststart", front)
    whole = front.read_bytes()
    half = len(whole) // 2
    front.write_bytes(whole[:half] + bytes(len(whole) - half))
    refused(output, "truncated or damaged|ffmpeg failed", source=str(front))


def test_damage_in_the_middle_is_said(clips: Path, library: Path, tmp_path: Path) -> None:
    """Nothing is missing at the end, so it is encoded; but nobody may think that all is well."""
    whole = bytearray((clips / "film.mp4").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 6000] = bytes(6000)
    source = tmp_path / "damaged.mp4"
    source.write_bytes(whole)
    request = EncodeRequest(source=str(source), output=str(library / "out.mkv"))
    (warning,) = encode(request, roots=[library]).warnings
    assert "in what it read, so a part of it may be damaged; the first: " in warning


def test_playlists(output: Path, clips: Path, tmp_path: Path) -> None:
    """A file from a stranger must not make ffmpeg read others."""
    _run_ffmpeg("-i", clips / "film.mp4", "-c", "copy", tmp_path / "other.ts")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n"
    for name, text in (
        ("film.m3u8", playlist),
        ("film.mp4", playlist),
        ("film.mkv", "ffconcat version 1.0\nfile other.ts\n"),
    ):
        (tmp_path / name).write_text(text)
        refused(output, "is not a media file that can be read", source=str(tmp_path / name))


def test_no_such_stream(output: Path, clips: Path) -> None:
    refused(
        output,
        r"has no stream 7. It holds 0: video h264 160x120; 1: audio aac 1 ch eng; 2: subtitle",
        streams=[{"input": str(clips / "film.mkv"), "index": 7}],
    )


def test_attached_picture_asked_for_as_a_stream(output: Path, clips: Path) -> None:
    refused(
        output,
        "is an attached picture, not video",
        streams=[{"input": str(clips / "cover.mp4"), "index": 2}],
    )


def test_sound_only(output: Path, clips: Path) -> None:
    refused(output, "None of the streams is video", source=str(clips / "music.flac"))


def test_subtitles_only(output: Path, clips: Path) -> None:
    refused(output, "is video or audio", source=str(clips / "film.srt"), video_codec="copy")


def test_bitmap_subtitles_into_mp4_and_webm(clips: Path, library: Path) -> None:
    for name, codec in (("out.mp4", "h264"), ("out.webm", "vp9")):
        (library / name).write_bytes(OLD)
        refused(
            library / name,
            r"holds text subtitles only, and these are pictures: stream 2 \(hdmv_pgs_subtitle\)",
            source=str(clips / "blu-ray.mkv"),
            video_codec=codec,
        )


def test_copying_what_the_container_does_not_hold(clips: Path, library: Path) -> None:
    (library / "out.webm").write_bytes(OLD)
    refused(
        library / "out.webm",
        "WebM does not hold h264 video",
        source=str(clips / "film.mp4"),
        video_codec="copy",
    )


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_subtitles_that_are_not_utf8(library: Path, clips: Path, tmp_path: Path, name: str) -> None:
    (library / name).write_bytes(OLD)
    old = tmp_path / "old.srt"
    old.write_bytes("1\n00:00:00,100 --> 00:00:01,000\nGrüße\n".encode("latin-1"))
    refused(
        library / name,
        "are not in UTF-8: convert them first",
        streams=[
            {"input": str(clips / "film.mp4"), "index": 0},
            {"input": str(old), "index": 0},
        ],
    )


def test_subtitles_in_a_film_that_are_not_utf8(library: Path, clips: Path, tmp_path: Path) -> None:
    """One line of the two: ffmpeg would drop it and end with 0."""
    film = tmp_path / "film.mkv"
    whole = (clips / "film.mkv").read_bytes()
    damaged = whole.replace("Grüße".encode(), b"Gr\xfc\xfc\xdf\xdfe")
    assert damaged != whole
    film.write_bytes(damaged)
    (library / "out.mp4").write_bytes(OLD)
    refused(library / "out.mp4", "not in UTF-8 and would be lost", source=str(film))


def test_output_equal_to_an_input(clips: Path, library: Path) -> None:
    film = library / "film.mkv"
    film.write_bytes((clips / "film.mkv").read_bytes())
    whole = film.read_bytes()
    (library / "hard.mkv").hardlink_to(film)
    (library / "soft.mkv").symlink_to(film)
    for source, output in (
        ("film.mkv", "film.mkv"),
        ("film.mkv", "hard.mkv"),
        ("film.mkv", "soft.mkv"),
        ("soft.mkv", "film.mkv"),
        ("../library/film.mkv", "film.mkv"),
    ):
        request = EncodeRequest(source=str(library / source), output=str(library / output))
        with pytest.raises(EncodingError, match="is the same file as the input"):
            encode(request, roots=[library])
    assert film.read_bytes() == whole
    assert len(list(library.iterdir())) == 3


def test_output_outside_the_roots(clips: Path, library: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "library-2").mkdir()
    (library / "way-out").symlink_to(outside)
    (library / "link.mkv").symlink_to(outside / "target.mkv")
    for output in (
        outside / "x.mkv",
        tmp_path / "library-2" / "x.mkv",
        library / ".." / "outside" / "x.mkv",
        library / "way-out" / "x.mkv",
        library / "link.mkv",
    ):
        request = EncodeRequest(source=str(clips / "film.mp4"), output=str(output))
        with pytest.raises(EncodingError, match="is outside the libraries"):
            encode(request, roots=[library])
    assert list(outside.iterdir()) == []
    with pytest.raises(EncodingError, match="No library is configured"):
        encode(request, roots=[])


def test_a_linked_output_is_written_where_it_leads(clips: Path, library: Path) -> None:
    (library / "real").mkdir()
    (library / "link.mkv").symlink_to(library / "real" / "film.mkv")
    request = EncodeRequest(
        source=str(clips / "film.mp4"), output=str(library / "link.mkv"), video_codec="copy"
    )
    assert encode(request, roots=[library]).output == library / "real" / "film.mkv"
    assert (library / "link.mkv").is_symlink()


def test_output_that_is_no_file(clips: Path, library: Path) -> None:
    (library / "folder.mkv").mkdir()
    for name, sentence in (
        ("folder.mkv", "is a folder: add a file name"),
        ("nowhere/x.mkv", "The folder '.*nowhere' does not exist"),
    ):
        request = EncodeRequest(source=str(clips / "film.mp4"), output=str(library / name))
        with pytest.raises(EncodingError, match=sentence):
            encode(request, roots=[library])


def test_a_linked_library_is_inside(clips: Path, library: Path, tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(library)
    request = EncodeRequest(
        source=str(clips / "film.mp4"), output=str(link / "x.mkv"), video_codec="copy"
    )
    assert encode(request, roots=[link]).output == library / "x.mkv"


def test_an_existing_output_is_replaced_and_keeps_its_rights(output: Path, clips: Path) -> None:
    output.chmod(0o640)
    encode(
        EncodeRequest(source=str(clips / "film.mkv"), output=str(output), video_codec="copy"),
        roots=[output.parent],
    )
    assert output.read_bytes()[:4] == b"\x1aE\xdf\xa3"
    assert output.stat().st_mode & 0o777 == 0o640


def test_a_source_truncated_while_being_read(output: Path, tmp_path: Path) -> None:
    source = _long_source(tmp_path / "long.mkv")

    def cut() -> None:
        os.truncate(source, source.stat().st_size // 2)

    with _meanwhile(output.parent, cut):
        refused(
            output,
            "changed while it was being read|ends too early|truncated",
            source=str(source),
            video_codec="vp9",
        )


def test_a_source_that_grows_while_being_read(output: Path, tmp_path: Path) -> None:
    source = _long_source(tmp_path / "long.mkv")

    def grow() -> None:
        with source.open("ab") as file:
            file.write(bytes(100))

    with _meanwhile(output.parent, grow):
        refused(
            output,
            "changed while it was being read",
            source=str(source),
            video_codec="vp9",
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root; the limit on file size is tested instead")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_disk_full(small_disk: Path, tmp_path: Path) -> None:
    source = _long_source(tmp_path / "long.mkv")
    output = small_disk / "out.mkv"
    output.write_bytes(OLD)
    for values in ({"crf": 1}, {"video_codec": "copy"}):
        refused(output, "There is no room for the output", source=str(source), **values)


def test_disk_full_at_the_very_end(small_disk: Path, tmp_path: Path, clips: Path) -> None:
    """MP4 writes its index last, when the pictures have taken all the room."""
    output = small_disk / "out.mp4"
    output.write_bytes(OLD)
    film = clips / "film.mp4"
    free = os.statvfs(small_disk)
    room = free.f_bavail * free.f_frsize
    (small_disk / "ballast").write_bytes(bytes(room - film.stat().st_size - 1024))
    refused(output, "There is no room for the output", source=str(film), video_codec="copy")


def test_file_size_limit(output: Path, tmp_path: Path) -> None:
    """A limit of the system's on the size of files, which is met where no disk can be mounted."""
    source = _long_source(tmp_path / "long.mkv")
    driver = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from pathlib import Path\n"
        "from haas_media.encoding import EncodeRequest, EncodingError, encode\n"
        "source, output = sys.argv[1:]\n"
        "try:\n"
        "    encode(EncodeRequest(source=source, output=output, crf=1),"
        " roots=[Path(output).parent])\n"
        "except EncodingError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", driver, source, output], capture_output=True, text=True, timeout=60
    )
    assert "There is no room for the output" in done.stdout, done.stderr
    assert output.read_bytes() == OLD
    assert list(output.parent.iterdir()) == [output]


def _run_ffmpeg(*arguments: object) -> None:
    import imageio_ffmpeg

    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)],
        check=True,
        timeout=60,
    )


def _long_source(path: Path) -> Path:
    """Make a film of 4 s and half a megabyte, which takes a second or two to encode as VP9."""
    _run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-qp", "8", "-pix_fmt", "yuv420p", path),
    )
    assert path.stat().st_size > 500_000
    return path


class _meanwhile:  # noqa: N801 - reads as a statement
    """Do something once the partial file has begun to grow."""

    def __init__(self, folder: Path, action: Callable[[], None]) -> None:
        self._folder, self._action, self._done = folder, action, False
        self._thread = threading.Thread(target=self._wait_and_act)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        assert self._done, "the encoding was over before anything could be done to it"

    def _wait_and_act(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if list(self._folder.glob(".*.haas-partial.*")):
                time.sleep(0.2)
                self._action()
                self._done = True
                return
            time.sleep(0.01)
