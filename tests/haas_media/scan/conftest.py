from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import imageio_ffmpeg
import pytest

from tests.haas_media.scan.shelf import House, Shelf, make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.catalog.opening import Catalog


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip of one second with a picture and two sounds."""
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    sounds = ["-f", "lavfi", "-i", "sine=duration=1"] * 2
    subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error"),
            *("-f", "lavfi", "-i", "testsrc=duration=1:size=64x36:rate=5", *sounds),
            *("-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264", "-preset", "ultrafast"),
            *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger", str(path)),
        ],
        check=True,
    )
    return path


@pytest.fixture
def house(tmp_path: Path, clip: Path, catalog: Catalog) -> House:
    """Two empty libraries and an empty catalog; the test runs once on each kind of database."""
    settings = make_settings(tmp_path)
    for library in settings.libraries:
        library.path.mkdir()
    films, shows = (Shelf(library.path, clip) for library in settings.libraries)
    return House(films, shows, settings, catalog)
