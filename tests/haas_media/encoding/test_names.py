"""Whatever a file is called, it is just a name."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodeRequest, EncodingError, encode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_media.encoding.conftest import Studio

NAMES = [
    "plain",
    "two words",
    "Grüße — 東京 🎬",
    'it\'s "quoted" `and` so',
    "two\nlines",
    "tab\tand\rreturn",
    "-y",
    "--help",
    "frame%03d",
    "100%d",
    "http:x",
    "https:__host_path",
    "file:x",
    "concat:a|b",
    "pipe:1",
    "[brackets] {braces} (x) *?",
    "semi;colon & $HOME $(true)",
    "back\\slash",
    "trailing dot.",
    "~",
    "x" * 251,
    "ü" * 125,
    "🎬" * 62,
]


@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:20] for name in NAMES])
def test_a_name_is_just_a_name(name: str, studio: Studio) -> None:
    source, output = studio.folder / f"{name}.mp4", studio.folder / f"{name}.mkv"
    shutil.copy(studio.clips / "film.mp4", source)
    report = studio.copy(source, output.name)
    assert report.output == output
    assert sorted(studio.folder.iterdir()) == sorted([source, output])
    assert report.to_markdown().encode()


def test_a_name_that_is_not_unicode(studio: Studio) -> None:
    source, output = (studio.folder / os.fsdecode(b"caf\xe9" + end) for end in (b".mp4", b".mkv"))
    shutil.copy(studio.clips / "film.mp4", source)
    request = EncodeRequest(source="x", output="x.mkv", video_codec="copy").model_copy(
        update={"source": str(source), "output": str(output)}
    )
    report = encode(request, roots=[studio.folder])
    assert sorted(studio.folder.iterdir()) == sorted([source, output])
    assert "caf\ufffd.mkv" in report.to_markdown().encode().decode()


def test_a_relative_name_that_looks_like_an_address(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(studio.clips / "film.mp4", studio.folder / "http:x.mp4")
    monkeypatch.chdir(studio.folder)
    request = EncodeRequest(source="http:x.mp4", output="-y.mkv", video_codec="copy")
    assert encode(request, roots=[studio.folder]).output == studio.folder / "-y.mkv"


def test_a_name_that_is_an_error_message(studio: Studio) -> None:
    """What ffmpeg says is searched for these; a film may be called so."""
    for name in ("No space left on device", ": partial file", "File ended prematurely"):
        source = studio.folder / f"{name}.mkv"
        shutil.copy(studio.clips / "film.mp4", source)  # called .mkv, which ffmpeg remarks on
        assert studio.encode(source, f"{name}.mp4").warnings == ()


def test_a_name_too_long_for_the_file_system(studio: Studio) -> None:
    with pytest.raises(EncodingError, match="cannot be read: File name too long"):
        studio.encode("x" * 300)
    with pytest.raises(EncodingError, match="cannot be used: File name too long"):
        studio.encode("film.mp4", "x" * 252 + ".mkv")
    assert list(studio.folder.iterdir()) == []


def test_an_address_is_refused_and_its_password_not_repeated(library: Path) -> None:
    address = "https://me:hunter2@host/x.mp4?key=abc"
    request = EncodeRequest(source=address, output=str(library / "x.mkv"))
    with pytest.raises(EncodingError, match="is an address") as refusal:
        encode(request, roots=[library])
    assert "hunter2" not in str(refusal.value)
    assert "abc" not in str(refusal.value)
