"""Whatever a file is called, it is just a name."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodeRequest, EncodingError, encode

if TYPE_CHECKING:
    from pathlib import Path

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
]


@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:20] for name in NAMES])
def test_a_name_is_just_a_name(name: str, clips: Path, library: Path) -> None:
    source = library / f"{name}.mp4"
    output = library / f"{name}.mkv"
    shutil.copy(clips / "film.mp4", source)

    report = encode(
        EncodeRequest(source=str(source), output=str(output), video_codec="copy"), roots=[library]
    )

    assert report.output == output
    assert sorted(library.iterdir()) == sorted([source, output])
    assert report.to_markdown().encode()


def test_a_name_that_is_not_unicode(clips: Path, library: Path) -> None:
    source = library / os.fsdecode(b"caf\xe9.mp4")
    output = library / os.fsdecode(b"caf\xe9.mkv")
    shutil.copy(clips / "film.mp4", source)
    request = EncodeRequest(source="x", output="x.mkv", video_codec="copy").model_copy(
        update={"source": str(source), "output": str(output)}
    )

    report = encode(request, roots=[library])

    assert sorted(library.iterdir()) == sorted([source, output])
    assert "caf?.mkv" in report.to_markdown().encode().decode()


def test_a_relative_name_that_looks_like_an_address(
    clips: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clips / "film.mp4", library / "http:x.mp4")
    monkeypatch.chdir(library)

    report = encode(
        EncodeRequest(source="http:x.mp4", output="-y.mkv", video_codec="copy"), roots=[library]
    )

    assert report.output == library / "-y.mkv"


def test_a_name_that_is_an_error_message(clips: Path, library: Path) -> None:
    """What ffmpeg says is searched for these; a film may be called so."""
    for name in ("No space left on device", ": partial file", "File ended prematurely"):
        source = library / f"{name}.mkv"
        shutil.copy(clips / "film.mp4", source)  # an MP4 called .mkv, which ffmpeg remarks on
        request = EncodeRequest(source=str(source), output=str(library / f"{name}.mp4"))
        assert encode(request, roots=[library]).warnings == ()


def test_a_source_name_too_long_for_the_file_system(library: Path) -> None:
    request = EncodeRequest(source=str(library / ("x" * 300)), output=str(library / "x.mkv"))
    with pytest.raises(EncodingError, match="cannot be read: File name too long"):
        encode(request, roots=[library])


def test_a_name_too_long_for_the_file_system(clips: Path, library: Path) -> None:
    request = EncodeRequest(
        source=str(clips / "film.mp4"), output=str(library / ("x" * 252 + ".mkv"))
    )

    with pytest.raises(EncodingError, match="cannot be used: File name too long"):
        encode(request, roots=[library])
    assert list(library.iterdir()) == []


def test_an_address_is_refused_and_its_password_not_repeated(library: Path) -> None:
    request = EncodeRequest(
        source="https://me:hunter2@host/x.mp4?key=abc", output=str(library / "x.mkv")
    )

    with pytest.raises(EncodingError, match="is an address") as refusal:
        encode(request, roots=[library])
    assert "hunter2" not in str(refusal.value)
    assert "abc" not in str(refusal.value)
