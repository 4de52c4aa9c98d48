"""What a killed run has left is removed by the next one, wherever that writes."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodeRequest, encode
from haas_media.encoding.register import sweep_noted
from tests.haas_media.encoding.processes import Run, hidden, names, wait_until_gone

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def register(tmp_path: Path) -> Path:
    """A register that is not there yet."""
    return tmp_path / "data" / "encodings"


@pytest.fixture
def run(clips: Path, library: Path, register: Path, tmp_path: Path) -> Run:
    """A run in a film's own folder whose ffmpeg takes for ever, and is under way."""
    stub = tmp_path / "ffmpeg-stub"
    stub.write_text(
        f"#!{sys.executable} -S\n"
        "import sys, time\n"
        "if '-encoders' in sys.argv:\n"
        "    print(' V....D libx264  H.264')\n"
        "    sys.exit()\n"
        "open(sys.argv[-1].removeprefix('file:'), 'wb').write(b'half')\n"
        "time.sleep(60)\n"
    )
    stub.chmod(0o755)
    (library / "Film A").mkdir()
    run = Run(
        clips / "film.mkv", library / "Film A" / "out.mkv", ffmpeg=str(stub), register=register
    )
    deadline = time.monotonic() + 30
    while len(hidden(library / "Film A")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    return run


def encode_another(clips: Path, library: Path, register: Path) -> None:
    (library / "Film B").mkdir(exist_ok=True)
    request = EncodeRequest(
        source=str(clips / "film.mkv"),
        output=str(library / "Film B" / "out.mkv"),
        video_codec="copy",
    )
    encode(request, roots=[library], register=register)
    assert names(library / "Film B") == ["out.mkv"]


def test_the_next_run_clears_up_in_another_films_folder(
    run: Run, clips: Path, library: Path, register: Path
) -> None:
    assert len(names(register)) == 1
    encode_another(clips, library, register)
    assert len(hidden(library / "Film A")) == 2  # it lives
    assert len(names(register)) == 1
    sent = run.signal_after(0, signal.SIGKILL)
    run.finish()
    wait_until_gone(str(library), sent, seconds=30)
    assert len(hidden(library / "Film A")) == 2
    encode_another(clips, library, register)
    assert names(library / "Film A") == []
    assert names(register) == []


def test_a_run_that_ends_leaves_no_entry(
    run: Run, clips: Path, library: Path, register: Path
) -> None:
    run.signal_after(0, signal.SIGTERM)
    assert run.finish() == "terminated\n"
    assert names(register) == []
    encode_another(clips, library, register)
    assert names(register) == []


def test_an_entry_waits_for_its_disk(run: Run, library: Path, register: Path) -> None:
    sent = run.signal_after(0, signal.SIGKILL)
    run.finish()
    wait_until_gone(str(library), sent, seconds=30)
    folder, away = library / "Film A", library.parent / "away"
    folder.rename(away)
    assert sweep_noted(register) == []
    assert len(names(register)) == 1
    away.rename(folder)
    assert len(sweep_noted(register)) == 2
    assert names(register) == []


def test_an_entry_without_its_folder_is_dropped(register: Path) -> None:
    """The power went before it was written."""
    register.mkdir(parents=True)
    (register / "0123456789abcdef").touch()
    assert sweep_noted(register) == []
    assert names(register) == []


def test_a_register_that_cannot_be_kept_costs_nothing(
    clips: Path, library: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    encode_another(clips, library, tmp_path / "file" / "encodings")
