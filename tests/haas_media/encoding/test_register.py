"""What a killed run has left is removed by the next one, wherever that writes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding.partial import sweep_registered
from tests.haas_media.encoding.conftest import Studio, make_program
from tests.haas_media.encoding.processes import Run, hidden, names

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def register(tmp_path: Path) -> Path:
    """A register that is not there yet."""
    return tmp_path / "data" / "encodings"


@pytest.fixture
def run(clips: Path, library: Path, register: Path, tmp_path: Path) -> Run:
    """A run in a film's own folder whose ffmpeg takes for ever, and is under way."""
    body = "open(target, 'wb').write(b'half')\ntime.sleep(3600)"
    endless = make_program(tmp_path / "endless", body)
    (library / "Film A").mkdir()
    output = library / "Film A" / "out.mkv"
    run = Run(clips / "film.mkv", output, ffmpeg=endless, register=register)
    run.wait_until_at_work()
    return run


def encode_another(clips: Path, library: Path, register: Path) -> None:
    (library / "Film B").mkdir(exist_ok=True)
    Studio(library / "Film B", clips).copy("film.mkv", how={"register": register})
    assert names(library / "Film B") == ["out.mkv"]


def test_the_next_run_clears_up_in_another_films_folder(
    run: Run, clips: Path, library: Path, register: Path
) -> None:
    assert len(names(register)) == 1
    encode_another(clips, library, register)
    assert len(hidden(library / "Film A")) == 2  # it lives
    assert len(names(register)) == 1
    run.end(signal.SIGKILL)
    assert len(hidden(library / "Film A")) == 2
    encode_another(clips, library, register)
    assert names(library / "Film A") == []
    assert names(register) == []


def test_a_run_that_ends_leaves_no_entry(
    run: Run, clips: Path, library: Path, register: Path
) -> None:
    assert run.end(signal.SIGTERM) == "terminated\n"
    assert names(register) == []
    encode_another(clips, library, register)
    assert names(register) == []


def test_an_entry_waits_for_its_disk(run: Run, library: Path, register: Path) -> None:
    run.end(signal.SIGKILL)
    folder, away = library / "Film A", library.parent / "away"
    folder.rename(away)
    sweep_registered(register)
    assert len(names(register)) == 1
    away.rename(folder)
    sweep_registered(register)
    assert names(folder) == []
    assert names(register) == []


def test_an_entry_without_its_folder_is_dropped(register: Path) -> None:
    """The power went before it was written."""
    register.mkdir(parents=True)
    entry = register / "0123456789abcdef"
    entry.touch()
    sweep_registered(register)
    assert names(register) == [entry.name]  # which may be written right now
    os.utime(entry, (0, 0))
    sweep_registered(register)
    assert names(register) == []


def test_a_register_that_cannot_be_kept_costs_nothing(
    clips: Path, library: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    encode_another(clips, library, tmp_path / "file" / "encodings")
