"""What cannot be encoded is refused with a sentence, and an existing output is left as it was."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.encoding import EncodingError
from tests.chaos import CHAOS
from tests.haas_media.encoding.conftest import X264, Studio, make_clips

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_what_is_no_media_file(studio: Studio, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mkv")
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "junk.mp4").write_bytes(bytes(range(256)) * 400)
    (tmp_path / "note.mkv").write_text("not a film\n" * 100)
    whole = (studio.clips / "film.mp4").read_bytes()
    (tmp_path / "moovless.mp4").write_bytes(whole[: whole.rindex(b"moov") - 4])
    for name, sentence in {
        "nowhere.mkv": "There is no file '.*nowhere.mkv'",
        ".": "is not a file",
        "pipe.mkv": "is not a file",
        "empty.mkv": "is empty",
        "junk.mp4": "is not a media file that can be read",
        "note.mkv": "is not a media file that can be read",
        "moovless.mp4": "is not a media file that can be read",
    }.items():
        studio.refuses(sentence, tmp_path / name)


@pytest.fixture(scope="module")
def front(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give an MP4 file whose index is in front."""
    folder = tmp_path_factory.mktemp("front")
    arguments = f"-i {clips / 'film.mp4'} -c copy -movflags +faststart"
    make_clips(folder, {"front.mp4": arguments})
    return (folder / "front.mp4").read_bytes()


@pytest.mark.parametrize("share", [0.95, 0.8, 0.5, 0.3] if CHAOS else [0.95, 0.5])
@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_truncated(studio: Studio, tmp_path: Path, front: bytes, share: float, codec: str) -> None:
    for name, whole in (
        ("cut.mkv", (studio.clips / "film.mkv").read_bytes()),
        ("cut.mp4", front),
    ):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        sentence = "ends too early|truncated or damaged"
        studio.refuses(sentence, tmp_path / name, video_codec=codec)


@pytest.mark.parametrize("size", [6000, 40], ids=["blocks", "in one picture"])
def test_damage_in_the_middle(size: int, studio: Studio, tmp_path: Path) -> None:
    """Nothing is missing at the end; it is found as it is decoded, by the place."""
    whole = bytearray((studio.clips / "film.mp4").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + size] = bytes(size)
    (tmp_path / "damaged.mp4").write_bytes(whole)
    for codec in ("h264", "copy"):
        studio.refuses(
            r"The source is damaged (at|from) 0:0(0\.[3-9]|1).* or set allow_loss",
            tmp_path / "damaged.mp4",
            video_codec=codec,
        )
        report = studio.encode(tmp_path / "damaged.mp4", video_codec=codec, allow_loss=True)
        assert "The source is damaged" in report.warnings[0]
        assert "0:0" in report.warnings[0]


def test_streams_that_cannot_be_had(studio: Studio, tmp_path: Path) -> None:
    old = tmp_path / "old.srt"
    old.write_bytes("1\n00:00:00,100 --> 00:00:01,000\nGrüße\n".encode("latin-1"))
    # One line of the two: ffmpeg would drop it and end with 0.
    film = (studio.clips / "film.mkv").read_bytes()
    damaged = film.replace("Grüße".encode(), b"Gr\xfc\xfc\xdf\xdfe")
    assert damaged != film
    (tmp_path / "film.mkv").write_bytes(damaged)
    copied = {"video_codec": "copy"}
    pictures = r"text subtitles only, and these are pictures: stream 2 \(hdmv_pgs_subtitle\)"
    cases: list[tuple[str, Any, str, dict[str, Any]]] = [
        (
            r"has no stream 7. It holds 0: video h264 160x120; 1: audio aac 1 ch eng; 2: subtitle",
            *(None, "out.mkv", {"streams": [("film.mkv", 7)]}),
        ),
        (
            "is an attached picture, not video",
            *(None, "out.mkv", {"streams": [("cover.mp4", 2)]}),
        ),
        ("None of the streams is video", "music.flac", "out.mkv", {}),
        ("is video or audio", "film.srt", "out.mkv", copied),
        (pictures, "blu-ray.mkv", "out.mp4", {}),
        (pictures, "blu-ray.mkv", "out.webm", {"video_codec": "vp9"}),
        ("WebM does not hold h264 video", "film.mp4", "out.webm", copied),
        ("not in UTF-8 and would be lost", tmp_path / "film.mkv", "out.mp4", {}),
    ]
    for output in ("out.mkv", "out.mp4"):
        streams = {"streams": [("film.mp4", 0), (old, 0)]}
        cases.append(("are not in UTF-8: convert them first", None, output, streams))
    for sentence, source, output, values in cases:
        studio.refuses(sentence, source, output, **values)


def test_output_equal_to_an_input(studio: Studio) -> None:
    film = studio.folder / "film.mkv"
    whole = (studio.clips / "film.mkv").read_bytes()
    film.write_bytes(whole)
    (studio.folder / "hard.mkv").hardlink_to(film)
    (studio.folder / "soft.mkv").symlink_to(film)
    for source, output in (
        ("film.mkv", "film.mkv"),
        ("film.mkv", "hard.mkv"),
        ("film.mkv", "soft.mkv"),
        ("soft.mkv", "film.mkv"),
        ("../library/film.mkv", "film.mkv"),
    ):
        with pytest.raises(EncodingError, match="is the same file as the input"):
            studio.encode(studio.folder / source, output)
    assert film.read_bytes() == whole
    assert len(list(studio.folder.iterdir())) == 3


def test_output_outside_the_roots(studio: Studio, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "library-2").mkdir()
    (studio.folder / "way-out").symlink_to(outside)
    (studio.folder / "link.mkv").symlink_to(outside / "target.mkv")
    for output in (
        str(outside / "x.mkv"),
        "../library-2/x.mkv",
        "../outside/x.mkv",
        "way-out/x.mkv",
        "link.mkv",
    ):
        with pytest.raises(EncodingError, match="is outside the libraries"):
            studio.encode("film.mp4", output)
    assert list(outside.iterdir()) == []
    with pytest.raises(EncodingError, match="No library is configured"):
        studio.encode("film.mp4", how={"roots": []})


def test_a_linked_output_is_written_where_it_leads(studio: Studio) -> None:
    (studio.folder / "real").mkdir()
    (studio.folder / "link.mkv").symlink_to(studio.folder / "real" / "film.mkv")
    assert studio.copy("film.mp4", "link.mkv").output == studio.folder / "real" / "film.mkv"
    assert (studio.folder / "link.mkv").is_symlink()


def test_output_that_is_no_file(studio: Studio) -> None:
    (studio.folder / "folder.mkv").mkdir()
    with pytest.raises(EncodingError, match="is a folder: add a file name"):
        studio.encode("film.mp4", "folder.mkv")
    with pytest.raises(EncodingError, match=r"The folder '.*nowhere' does not exist"):
        studio.encode("film.mp4", "nowhere/x.mkv")


def test_a_linked_library_is_inside(studio: Studio, tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(studio.folder)
    assert Studio(link, studio.clips).copy("film.mp4").output == studio.folder / "out.mkv"


def test_an_existing_output_is_replaced_and_keeps_its_rights(studio: Studio) -> None:
    output = studio.folder / "out.mkv"
    output.touch(0o640)
    studio.copy("film.mkv")
    assert output.read_bytes()[:4] == b"\x1aE\xdf\xa3"
    assert output.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("os.truncate({0!r}, os.stat({0!r}).st_size // 2)", "ends too early|truncated"),
        ("open({0!r}, 'ab').write(bytes(100))", "changed while it was being read"),
    ],
    ids=["truncated", "grows"],
)
def test_a_source_that_changes_while_it_is_read(
    studio: Studio, tmp_path: Path, change: str, sentence: str
) -> None:
    source = tmp_path / "film.mkv"
    source.write_bytes((studio.clips / "film.mkv").read_bytes())
    body = f"{change.format(str(source))}\nos.execv(ffmpeg, sys.argv)"
    studio.refuses(sentence, source, how=studio.program(body))


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


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Make a film of half a megabyte."""
    make_clips(tmp_path, {"large.mkv": f"-f lavfi -i testsrc2=s=320x240:r=25:d=4 {X264} -qp 8"})
    assert (tmp_path / "large.mkv").stat().st_size > 500_000
    return tmp_path / "large.mkv"


NO_ROOM = "There is no room for the output"


def test_disk_full(small_disk: Path, clips: Path, large: Path) -> None:
    for values in ({"crf": 1}, {"video_codec": "copy"}):
        Studio(small_disk, clips).refuses(NO_ROOM, large, **values)


def test_disk_full_at_the_very_end(small_disk: Path, clips: Path) -> None:
    """MP4 writes its index last, when the pictures have taken all the room."""
    free = os.statvfs(small_disk)
    room = free.f_bavail * free.f_frsize - 4096  # for the output that is there already
    film = clips / "film.mp4"
    (small_disk / "ballast").write_bytes(bytes(room - film.stat().st_size - 1024))
    Studio(small_disk, clips).refuses(NO_ROOM, film, "out.mp4", video_codec="copy")


def test_file_size_limit(studio: Studio, large: Path) -> None:
    """A limit of the system's on the size of files, which is met where no disk can be mounted."""
    with _file_size_limit(200_000):
        studio.refuses(NO_ROOM, large, crf=1)


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
