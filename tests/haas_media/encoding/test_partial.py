"""Partial files: their names, their locks, and which of them a sweep may take."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from haas_media.encoding import EncodingError
from haas_media.encoding.partial import STALE_AFTER, Partial, sweep_folder

ID = "0123456789abcdef"


def lock_of(pid: int) -> str:
    """Give what a run on this machine writes into its lock file."""
    here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return json.dumps({"machine": here, "pid": pid})


ANOTHER = json.dumps({"machine": "another", "pid": 1})


def leftover(folder: Path, lock: str | None = ANOTHER, age: float = 0) -> list[Path]:
    """Leave what a run that was SIGKILLed leaves, in the order in which it is swept."""
    files = {folder / f".Film.{ID}.haas-partial.mkv": "half a film"}
    if lock is not None:
        files[folder / f".Film.{ID}.haas-lock"] = lock
    for path, text in files.items():
        path.write_text(text)
        os.utime(path, (time.time() - age,) * 2)
    return list(files)


def swept(folder: Path) -> list[Path]:
    """Sweep a folder; list what is gone."""
    before = sorted(folder.iterdir(), reverse=True)
    sweep_folder(folder)
    return [path for path in before if not path.exists()]


def test_a_second_signal_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a worker that ends a run twice: by a cancel, and by its own end."""
    unlink = Path.unlink

    def slowly(path: Path) -> None:
        unlink(path)
        if path == partial.path:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", slowly)
    before = signal.signal(signal.SIGUSR1, stop)
    partial = Partial(tmp_path / "film.mkv")
    try:
        with pytest.raises(KeyboardInterrupt), partial:
            interrupted(partial)
        for thread in threading.enumerate():
            if thread.name == "remove-partial":
                thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert list(tmp_path.iterdir()) == []


def interrupted(partial: Partial) -> None:
    partial.path.write_bytes(b"half a film")
    raise KeyboardInterrupt


def test_the_data_is_on_the_disk_before_the_name_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append(("replace", target.name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with Partial(tmp_path / "film.mkv") as partial:
        partial.path.write_bytes(b"x")
        partial.publish(lambda: calls.append(("told", "")))
    assert calls == [
        *(("fsync", partial.path.name), ("told", "")),
        *(("replace", "film.mkv"), ("fsync", tmp_path.name)),
    ]


def test_an_unwritable_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(EncodingError, match="cannot be written to"),
        Partial(tmp_path / "nowhere" / "x.mkv"),
    ):
        pass


def test_a_live_runs_files_are_not_swept(tmp_path: Path) -> None:
    with Partial(tmp_path / "Film.mkv") as partial:
        partial.path.write_bytes(b"x")
        assert swept(tmp_path) == []
        os.utime(partial.path, (0, 0))
        os.utime(partial.descriptor, (0, 0))
        assert swept(tmp_path) == [], "a lock that is held says more than a date"
        assert partial.path.exists()


def test_the_sweep_waits_for_a_run_that_is_just_dying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is gone, but its ffmpeg holds the lock a moment longer."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    files = leftover(tmp_path, lock_of(dead.pid))
    lock, flock = files[1].open(), fcntl.flock
    flock(lock, fcntl.LOCK_EX)

    def let_go_once_it_was_met(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        finally:
            lock.close()

    monkeypatch.setattr(fcntl, "flock", let_go_once_it_was_met)
    assert swept(tmp_path) == files
    assert lock.closed


def test_the_sweep_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A run in another container is not to be seen, but its lock is."""
    files = leftover(tmp_path, lock_of(2**22))
    with files[1].open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.monotonic()
        assert swept(tmp_path) == []
        assert time.monotonic() - begun > 0.9


STALE, NOT_YET = STALE_AFTER.total_seconds() + 60, STALE_AFTER.total_seconds() - 60


@pytest.mark.parametrize(
    ("lock", "age", "goes"),
    [
        *((ANOTHER, NOT_YET, False), (ANOTHER, STALE, True)),
        *((None, NOT_YET, False), (None, STALE, True)),
        # What cannot be read is no licence.
        *((text, NOT_YET, False) for text in ("", "{", "[]", "7", '{"pid": 3}')),
    ],
)
def test_what_may_be_of_another_machine_is_swept_only_once_it_is_stale(
    lock: str | None, age: float, goes: bool, tmp_path: Path
) -> None:
    files = leftover(tmp_path, lock, age)
    assert swept(tmp_path) == (files if goes else [])


def test_where_there_are_no_locks_the_date_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with Partial(tmp_path / "Film.mkv") as partial:
        partial.path.write_bytes(b"x")
        assert swept(tmp_path) == []
    files = leftover(tmp_path, lock_of(1), age=STALE)
    assert swept(tmp_path) == files


def test_a_run_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Partial(tmp_path / "Film.mkv") as partial:
        os.utime(partial.descriptor, (0, 0))
        partial.touch()
        assert os.fstat(partial.descriptor).st_mtime == 0, "too soon to bother the disk"
        later = time.monotonic() + 31
        monkeypatch.setattr(time, "monotonic", lambda: later)
        partial.touch()
        assert os.fstat(partial.descriptor).st_mtime > 0


def test_only_our_own_names_are_swept(tmp_path: Path) -> None:
    for name in (
        "Film.mkv",
        ".hidden.mkv",
        f"Film.{ID}.haas-partial.mkv",
        ".Film.short.haas-partial.mkv",
        f".Film.{ID}.haas-partial.mkv.torrent",
        f".Film.{ID}.partial.mkv",
    ):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    assert swept(tmp_path) == []
