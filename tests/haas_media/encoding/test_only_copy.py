"""What would cost the only copy: an output that is the source itself, and a disk that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodeRequest, EncodingError, encode
from haas_media.encoding.runner import run
from tests.haas_media.encoding.conftest import FFMPEG, X264, ffmpeg, picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD = b"the file that was there before"


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
    request = EncodeRequest(source=str(disk / "film.mkv"), output=str(library / "film.mkv"))
    with pytest.raises(EncodingError, match="may be the same file, reached another way"):
        encode(request, roots=[library])
    assert (disk / "film.mkv").read_bytes() == whole


def test_a_copy_is_replaced_once_somebody_says_so(clips: Path, library: Path) -> None:
    backup = library.parent / "backup.mkv"
    shutil.copyfile(clips / "film.mkv", backup)
    output = library / "film.mkv"
    shutil.copy2(backup, output)
    request = EncodeRequest(source=str(backup), output=str(output), video_codec="copy")
    with pytest.raises(EncodingError, match="If it is a copy, delete it first, or change its date"):
        encode(request, roots=[library])
    os.utime(output, (1, 1))
    encode(request, roots=[library])
    assert output.stat().st_mtime > 1


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Films that do not tell how long they are: bare video, and a recording."""
    folder = tmp_path_factory.mktemp("endless")
    bare, recording = folder / "bare.h264", folder / "recording.mkv"
    ffmpeg(*picture("320x240", 6), *X264, "-b:v", "2M", "-minrate", "2M", bare)
    ffmpeg("-i", bare, "-c", "copy", "-f", "matroska", "-live", "1", recording)
    return {"bare": bare, "recording": recording}


def _program(path: Path, body: str) -> str:
    path.write_text(f"#!{sys.executable} -S\nimport os, subprocess, sys\n{body}")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def strace() -> str:
    """Give the tool that makes a good disk fail."""
    found = shutil.which("strace")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("strace is missing")
    if found is None or subprocess.run([found, "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("strace is not there, or may trace nothing: apt-get install strace")
    return found


@pytest.mark.parametrize("kind", ["bare", "recording"])
def test_a_disk_that_fails_while_it_is_read(
    kind: str, strace: str, endless: dict[str, Path], library: Path, tmp_path: Path
) -> None:
    source, output = endless[kind], library / "out.mkv"
    output.write_bytes(OLD)
    fail = f"-P {source} -e trace=read -e inject=read:error=EIO:when=8+".split()
    traced = [strace, "-f", "-qq", "-o", os.devnull, *fail, FFMPEG]
    body = (
        f"traced = {traced!r} if {str(source)!r} in ' '.join(sys.argv) else [{FFMPEG!r}]\n"
        "os.execv(traced[0], traced + sys.argv[1:])\n"
    )
    request = EncodeRequest(source=str(source), output=str(output))
    with pytest.raises(EncodingError, match=r"read to its end \(Input/output error\): check its"):
        encode(request, roots=[library], ffmpeg=_program(tmp_path / "failing", body))
    assert output.read_bytes() == OLD
    assert len(list(library.iterdir())) == 1


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("Input/output error", r"\(Input/output error\): check its disk or network"),
        ("Stale file handle", r"\(Stale file handle\): check its disk or network"),
        ("Invalid data found when processing input", "nobody knows how much is missing"),
    ],
)
def test_what_ffmpeg_says_of_an_input_that_it_has_given_up(
    said: str, sentence: str, endless: dict[str, Path], library: Path, tmp_path: Path
) -> None:
    """A real run of the first second, with the line that a real failure has been seen to write."""
    output = library / "out.mkv"
    output.write_bytes(OLD)
    body = (
        f"ffmpeg = {FFMPEG!r}\n"
        "if '-encoders' in sys.argv: os.execv(ffmpeg, sys.argv)\n"
        "status = subprocess.run([ffmpeg, '-t', '1', *sys.argv[1:]]).returncode\n"
        "line = '[in#0/h264 @ 0x5f] [error] Error during demuxing: "
        f"{said}'\n"
        "noise = '[h264 @ 0x5a] [error] error while decoding MB 2 8'\n"
        "sys.stderr.write('\\n'.join([noise] * 30 + [line] + [noise] * 300) + '\\n')\n"
        "sys.exit(status)\n"
    )
    request = EncodeRequest(source=str(endless["bare"]), output=str(output))
    with pytest.raises(EncodingError, match=sentence):
        encode(request, roots=[library], ffmpeg=_program(tmp_path / "failing", body))
    assert output.read_bytes() == OLD


def test_ffmpeg_killed_for_its_memory(clips: Path, library: Path, tmp_path: Path) -> None:
    body = f"if '-encoders' in sys.argv: os.execv({FFMPEG!r}, sys.argv)\nos.kill(os.getpid(), 9)\n"
    program = _program(tmp_path / "killed", body)
    assert run([program]).returncode == 128 + 9
    request = EncodeRequest(source=str(clips / "film.mkv"), output=str(library / "out.mkv"))
    with pytest.raises(EncodingError, match="signal 9; the machine may have run out of memory"):
        encode(request, roots=[library], ffmpeg=program)
