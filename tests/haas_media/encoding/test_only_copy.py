"""What would cost the only copy: an output that is the source itself, and a disk that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodingError
from tests.haas_media.encoding.conftest import X264, Studio, make_clips
from tests.parts import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def union(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Mount a union of disks, as home servers have them; give one of its disks, and the union."""
    base = tmp_path / "base"
    base.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", base], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    disk, library = base / "disk", base / "library"
    for folder in (base / "lower", disk, base / "work", library):
        folder.mkdir()
    layers = f"lowerdir={base / 'lower'},upperdir={disk},workdir={base / 'work'}"
    try:
        if subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", layers, library], check=False
        ).returncode:
            pytest.skip("no union can be mounted here")
        yield disk, library
    finally:
        subprocess.run(["umount", "-l", library], check=False)
        subprocess.run(["umount", "-l", base], check=True)


def test_output_equal_to_an_input_that_is_reached_another_way(
    clips: Path, union: tuple[Path, Path]
) -> None:
    disk, library = union
    shutil.copyfile(clips / "film.mkv", disk / "film.mkv")
    whole = (disk / "film.mkv").read_bytes()
    assert not (disk / "film.mkv").samefile(library / "film.mkv")
    with pytest.raises(EncodingError, match="may be the same file, reached another way"):
        Studio(library, clips).encode(disk / "film.mkv", "film.mkv")
    assert (disk / "film.mkv").read_bytes() == whole


def test_a_copy_is_replaced_once_somebody_says_so(studio: Studio) -> None:
    backup, output = studio.folder.parent / "backup.mkv", studio.folder / "film.mkv"
    shutil.copyfile(studio.clips / "film.mkv", backup)
    shutil.copy2(backup, output)
    with pytest.raises(EncodingError, match="If it is a copy, delete it first, or change its date"):
        studio.copy(backup, "film.mkv")
    os.utime(output, (1, 1))
    studio.copy(backup, "film.mkv")
    assert output.stat().st_mtime > 1


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films that do not tell how long they are: bare video, and a recording."""
    folder = tmp_path_factory.mktemp("endless")
    picture = "-f lavfi -i testsrc2=s=320x240:r=25:d=6"
    bare, recording = f"{picture} {X264} -b:v 2M -minrate 2M", "-i bare.h264 -c copy -live 1"
    make_clips(folder, {"bare.h264": bare, "recording.mkv": recording})
    return folder


@pytest.fixture(scope="module")
def strace() -> str:
    """Give the tool that makes a good disk fail."""
    found = shutil.which("strace")
    require("strace", found, "apt-get install strace")
    traces = subprocess.run([str(found), "-o", os.devnull, "true"], check=False)
    require("the right to trace", traces.returncode == 0, "run as a user who may use ptrace")
    return str(found)


@pytest.mark.parametrize("name", ["bare.h264", "recording.mkv"])
def test_a_disk_that_fails_while_it_is_read(
    name: str, strace: str, endless: Path, studio: Studio
) -> None:
    fail = f"-P {endless / name} -e trace=read -e inject=read:error=EIO:when=8+".split()
    traced = [strace, "-f", "-qq", "-o", os.devnull, *fail]
    body = f"os.execv({strace!r}, {traced!r} + [ffmpeg] + sys.argv[1:])"
    sentence = r"read to its end \(Input/output error\): check its"
    studio.refuses(sentence, endless / name, how=studio.program(body))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("Input/output error", r"\(Input/output error\): check its disk or network"),
        ("Stale file handle", r"\(Stale file handle\): check its disk or network"),
        ("Invalid data found when processing input", "nobody knows how much is missing"),
    ],
)
def test_what_ffmpeg_says_of_an_input_that_it_has_given_up(
    said: str, sentence: str, endless: Path, studio: Studio
) -> None:
    """A real run of the first second, with the line that a real failure has been seen to write."""
    body = (
        "status = subprocess.run([ffmpeg, '-t', '1', *sys.argv[1:]]).returncode\n"
        f"line = '[in#0/h264 @ 0x5f] [error] Error during demuxing: {said}'\n"
        "noise = '[h264 @ 0x5a] [error] error while decoding MB 2 8'\n"
        "sys.stderr.write('\\n'.join([noise] * 30 + [line] + [noise] * 300) + '\\n')\n"
        "sys.exit(status)"
    )
    studio.refuses(sentence, endless / "bare.h264", how=studio.program(body))
