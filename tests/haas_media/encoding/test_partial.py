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


def leftover(folder: Path, machine: str | None = None, age: float = 0) -> list[Path]:
    """Leave what a run that was SIGKILLed leaves, on this machine or another."""
    partial = folder / f".Film.{ID}.haas-partial.mkv"
    lock = folder / f".Film.{ID}.haas-lock"
    partial.write_bytes(b"half a film")
    here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lock.write_text(json.dumps({"machine": machine or here, "pid": 1}))
    for path in (partial, lock):
        os.utime(path, (time.time() - age,) * 2)
    return [partial, lock]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with Partial(tmp_path / "Film.mkv") as partial:
        partial.path.write_bytes(b"x")
        assert partial.path.parent == tmp_path
        assert partial.path.name.startswith(".Film.")
        assert partial.path.name.endswith(".haas-partial.mkv")
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a worker that ends a run twice: by a cancel, and by its own end."""
    unlink = Path.unlink

    def slowly(path: Path, *, missing_ok: bool) -> None:
        unlink(path, missing_ok=missing_ok)
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


def test_the_data_is_on_the_disk_before_the_name_is_changed(tmp_path: Path) -> None:
    """Seen from outside: the order of the system calls."""
    log = tmp_path / "log"
    calls: list[tuple[str, str]] = []
    real = {"fsync": os.fsync, "replace": os.replace}

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda fd: (calls.append(("fsync", name_of(fd))), real["fsync"](fd))
        )
        patch.setattr(
            os, "replace", lambda a, b: (calls.append(("replace", b.name)), real["replace"](a, b))
        )
        with Partial(log.with_suffix(".mkv")) as partial:
            partial.path.write_bytes(b"x")
            partial.publish(lambda: calls.append(("told", "")))
    assert calls == [
        ("fsync", partial.path.name),
        ("told", ""),
        ("replace", "log.mkv"),
        ("fsync", tmp_path.name),
    ]


def test_long_names_are_cut_between_characters(tmp_path: Path) -> None:
    for stem in ("x" * 251, "ü" * 125, "🎬" * 62):
        with Partial(tmp_path / f"{stem}.mkv") as partial:
            partial.path.touch()
            assert len(os.fsencode(partial.path.name)) <= 255
            assert partial.path.name.encode()


def test_an_unwritable_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(EncodingError, match="cannot be written to"),
        Partial(tmp_path / "nowhere" / "x.mkv"),
    ):
        pass


def test_a_live_runs_files_are_not_swept(tmp_path: Path) -> None:
    with Partial(tmp_path / "Film.mkv") as partial:
        partial.path.write_bytes(b"x")
        assert sweep_folder(tmp_path) == []
        os.utime(partial.path, (0, 0))
        os.utime(partial.descriptor, (0, 0))
        assert sweep_folder(tmp_path) == [], "a lock that is held says more than a date"
        assert partial.path.exists()


def test_the_sweep_waits_for_a_run_that_is_just_dying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is gone, but its ffmpeg holds the lock a moment longer."""
    files = leftover(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    machine = json.loads(files[1].read_text())["machine"]
    files[1].write_text(json.dumps({"machine": machine, "pid": dead.pid}))
    lock, flock = files[1].open(), fcntl.flock
    flock(lock, fcntl.LOCK_EX)

    def let_go_once_it_was_met(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        finally:
            lock.close()

    monkeypatch.setattr(fcntl, "flock", let_go_once_it_was_met)
    assert sweep_folder(tmp_path) == files
    assert lock.closed


def test_the_sweep_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A run in another container is not to be seen, but its lock is."""
    files = leftover(tmp_path)
    machine = json.loads(files[1].read_text())["machine"]
    files[1].write_text(json.dumps({"machine": machine, "pid": 2**22}))
    with files[1].open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.monotonic()
        assert sweep_folder(tmp_path) == []
        assert time.monotonic() - begun > 0.9


def test_another_machines_files_are_swept_only_once_they_are_stale(tmp_path: Path) -> None:
    seconds = STALE_AFTER.total_seconds()
    files = leftover(tmp_path, machine="another", age=seconds - 60)
    assert sweep_folder(tmp_path) == []
    leftover(tmp_path, machine="another", age=seconds + 60)
    assert sweep_folder(tmp_path) == files


def test_a_partial_file_without_a_lock_is_swept_once_it_is_stale(tmp_path: Path) -> None:
    partial, lock = leftover(tmp_path)
    lock.unlink()
    assert sweep_folder(tmp_path) == []
    os.utime(partial, (0, 0))
    assert sweep_folder(tmp_path) == [partial]


def test_an_unreadable_lock_is_no_licence(tmp_path: Path) -> None:
    for text in ("", "{", "[]", "7", '{"pid": 3}'):
        _, lock = leftover(tmp_path)
        lock.write_text(text)
        assert sweep_folder(tmp_path) == []


def test_where_there_are_no_locks_the_date_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with Partial(tmp_path / "Film.mkv") as partial:
        partial.path.write_bytes(b"x")
        assert sweep_folder(tmp_path) == []
    files = leftover(tmp_path, age=STALE_AFTER.total_seconds() + 60)
    assert sweep_folder(tmp_path) == files


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
    assert sweep_folder(tmp_path) == []


def test_a_folder_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep_folder(tmp_path / "not there") == []
