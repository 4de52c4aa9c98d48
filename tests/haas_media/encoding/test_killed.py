"""An encoding that is cancelled or killed, at any instant."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.chaos import CHAOS
from tests.haas_media.encoding.conftest import OLD, make_program
from tests.haas_media.encoding.processes import (
    Run,
    Watcher,
    commands,
    hidden,
    mentioning,
    names,
    state,
    wait_for,
    wait_until_gone,
)

if TYPE_CHECKING:
    from tests.haas_media.encoding.conftest import Studio

SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"]
)
# From when, and how many seconds later: from the beginning, from when ffmpeg is at work, or from
# when it is done, which falls on its checks and its renaming.
MOMENTS = [("beginning", 0.05), ("at work", 0.1), ("done", 0.005), ("done", 0.02)]
if CHAOS:
    chance = random.Random(1)
    MOMENTS = [("beginning", chance.uniform(0, 0.5)) for _ in range(20)]
    MOMENTS += [("at work", chance.uniform(0, 1.5)) for _ in range(20)]
    MOMENTS += [("done", chance.uniform(0, 0.06)) for _ in range(40)]


@SIGNALS
@pytest.mark.parametrize(("since", "seconds"), MOMENTS)
def test_ended_at_any_moment(
    number: signal.Signals, since: str, seconds: float, studio: Studio, tmp_path: Path
) -> None:
    """Nobody ever sees anything but the old file, whole, or the new one, whole."""
    output = studio.folder / "out.mkv"
    output.write_bytes(OLD)
    old, is_done = state(output), tmp_path / "done"
    body = f"subprocess.run([ffmpeg, *sys.argv[1:]])\nopen({str(is_done)!r}, 'w').close()"
    with Watcher(output) as watcher:
        if since == "done":
            run = Run(studio.clips / "film.mkv", output, ffmpeg=make_program(tmp_path / "f", body))
            wait_for(is_done.exists)
        else:
            run = Run(studio.clips / "long.mkv", output)
            if since == "at work":
                run.wait_until_at_work()
        time.sleep(seconds)
        said = run.end(number)
    if since != "done":
        assert said == ("terminated\n" if number == signal.SIGTERM else "")
        assert watcher.seen == {old}
    if number == signal.SIGTERM:
        assert hidden(studio.folder) == []
    assert watcher.seen <= {old, state(output)}
    if state(output) == old:
        assert output.read_bytes() == OLD
    else:
        with av.open(str(output)) as container:
            assert container.duration > 1_900_000
    # The next run, of another film in the same folder, clears up.
    studio.copy("film.mkv", "next.mkv")
    assert names(studio.folder) == ["next.mkv", "out.mkv"]


# What is running then, by a word of its command.
PHASES: dict[str, tuple[dict[str, Any], str]] = {
    "finding the quality": ({"quality": 93}, "haas-partial.nut"),
    "verifying": ({"video_codec": "copy"}, "passthrough"),
    "looking for damage": ({}, "-debug_ts"),
}


@pytest.fixture(scope="module")
def damaged(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a film of many minutes that is quickly encoded up to its one fault."""
    whole = bytearray((clips / "long.mkv").read_bytes())
    whole[20_000:20_400] = bytes(400)
    path = tmp_path_factory.mktemp("damaged") / "long.mkv"
    path.write_bytes(whole)
    return path


@SIGNALS
@pytest.mark.parametrize("phase", PHASES)
def test_ended_before_or_after_encoding(
    number: signal.Signals, phase: str, studio: Studio, damaged: Path
) -> None:
    output = studio.folder / "out.mkv"
    output.write_bytes(OLD)
    values, word = PHASES[phase]
    source = damaged if phase == "looking for damage" else studio.clips / "long.mkv"
    run = Run(source, output, **values)
    wait_for(lambda: word in commands(str(studio.folder)) + commands(str(source)))
    assert run.end(number) == ("terminated\n" if number == signal.SIGTERM else "")
    assert output.read_bytes() == OLD
    if number == signal.SIGKILL:
        assert hidden(studio.folder)
        studio.copy("film.mkv", "out.mkv")
    assert hidden(studio.folder) == []


@pytest.mark.parametrize(
    ("number", "again", "said"),
    [
        (signal.SIGINT, None, "interrupted\n"),
        # Sent again while the first is being obeyed.
        (signal.SIGTERM, signal.SIGTERM, "terminated\n"),
    ],
    ids=["Ctrl-C", "an impatient SIGTERM"],
)
def test_ended_by_hand(
    number: signal.Signals, again: signal.Signals | None, said: str, studio: Studio
) -> None:
    run = Run(studio.clips / "long.mkv", studio.folder / "out.mkv")
    run.wait_until_at_work()
    if again is not None:
        run.send(number)
        time.sleep(0.003)
    assert run.end(again or number) == said
    assert names(studio.folder) == []


def test_the_guard_and_ffmpeg_hold_the_lock_too(studio: Studio) -> None:
    """So that no sweep takes the file of a run that is dead, but whose ffmpeg is not quite yet."""
    run = Run(studio.clips / "long.mkv", studio.folder / "long.mkv")
    processes = run.wait_until_at_work()
    (lock,) = (name for name in hidden(studio.folder) if name.endswith("lock"))
    for process in processes:
        held = []
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                held.append(descriptor.readlink())
        assert studio.folder / lock in held
    assert run.end(signal.SIGTERM) == "terminated\n"


def test_ffmpeg_gives_way_to_whatever_else_runs(studio: Studio) -> None:
    run = Run(studio.clips / "long.mkv", studio.folder / "out.mkv")
    _, ffmpeg = run.wait_until_at_work()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, ffmpeg) == min(own + 10, 19)
    group = Path(f"/proc/{ffmpeg}/autogroup")
    assert not group.exists() or group.read_text().endswith(f" nice {min(own + 10, 19)}\n")
    assert run.end(signal.SIGTERM) == "terminated\n"


def test_two_runs_at_once_to_one_output(studio: Studio) -> None:
    output = studio.folder / "out.mkv"
    runs = [Run(studio.clips / "film.mkv", output) for _ in range(2)]
    assert [run.finish() for run in runs] == ["done\n"] * 2
    assert names(studio.folder) == ["out.mkv"]


HANGS = """
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
open(target, "w").write("half a film")
while True:
    time.sleep(3600)
"""
WRAPPED = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", target])
open(target, "w").write("half a film")
child.wait()
"""


@SIGNALS
@pytest.mark.parametrize("body", [HANGS, WRAPPED], ids=["ignores signals", "wrapper script"])
def test_a_stubborn_ffmpeg_does_not_outlive_its_run(
    number: signal.Signals, body: str, studio: Studio, tmp_path: Path
) -> None:
    program = make_program(tmp_path / "stubborn", body)
    run = Run(studio.clips / "film.mkv", studio.folder / "out.mkv", ffmpeg=program)
    processes = 3 if body == WRAPPED else 2
    wait_for(lambda: len(hidden(studio.folder)) == 2)
    wait_for(lambda: len(mentioning(str(studio.folder))) == processes)
    run.end(number)
    if number == signal.SIGTERM:
        assert hidden(studio.folder) == []


@pytest.mark.parametrize("which", ["guard", "ffmpeg"])
def test_either_of_guard_and_ffmpeg_is_killed(which: str, studio: Studio) -> None:
    """By whoever, such as the out-of-memory killer: neither outlives the other, or goes unseen."""
    output = studio.folder / "out.mkv"
    output.write_bytes(OLD)
    run = Run(studio.clips / "long.mkv", output)
    guard, ffmpeg = run.wait_until_at_work()
    os.kill(guard if which == "guard" else ffmpeg, signal.SIGKILL)
    wait_until_gone(str(studio.folder))
    assert run.finish() == (
        "failed: ffmpeg failed (killed by signal 9; the machine may have run out of memory): "
        "it gave no reason.\n"
    )
    assert output.read_bytes() == OLD
    assert hidden(studio.folder) == []


# Where the kernel tells of no parent's death, and where another process holds the lifeline's end.
ALONE = {
    "lifeline": "guard._prctl = lambda *_: None; sys.exit(guard.main(sys.argv[1:]))",
    "kernel": "subprocess.run([sys.executable, '-I', '-S', guard.__file__, *sys.argv[1:]])",
}


@pytest.mark.parametrize("what", ALONE)
def test_either_of_lifeline_and_kernel_alone_is_enough(what: str, tmp_path: Path) -> None:
    code = f"import subprocess, sys; from haas_media.encoding import guard; {ALONE[what]}"
    command = [sys.executable, "-c", "import time; time.sleep(3600)", str(tmp_path)]
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w") as lifeline:
        parent = subprocess.Popen(
            [sys.executable, "-c", code, *command], stdin=reader, stdout=subprocess.PIPE
        )
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith(b"guarded_pid=")
        if what == "lifeline":
            lifeline.close()
        else:
            parent.kill()
        wait_until_gone(str(tmp_path))
        assert parent.wait() in {128 + signal.SIGKILL, -signal.SIGKILL}


@pytest.mark.parametrize("renamed", [False, True])
def test_what_a_callback_raises_ends_the_encoding(studio: Studio, renamed: bool) -> None:
    """Somebody may have renamed the folder meanwhile."""
    before, after = studio.folder / "Film", studio.folder / "Film (1999)"
    before.mkdir()

    class Stop(BaseException):
        pass

    def stop(_: object) -> None:
        if renamed:
            before.rename(after)
        raise Stop

    with pytest.raises(Stop):
        studio.encode("long.mkv", "Film/out.mkv", how={"on_progress": stop})
    wait_until_gone(str(studio.folder))
    assert names(after if renamed else before) == []


def test_in_a_thread_that_is_not_the_main_one(studio: Studio) -> None:
    """The guard must not take the end of some thread for the end of the process."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(studio.encode("film.mkv")))
    thread.start()
    thread.join()
    assert [type(result).__name__ for result in results] == ["EncodeReport"]


def test_nothing_is_left_open(studio: Studio) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) + threading.active_count()

    studio.copy("film.mkv")
    before = opened()
    for _ in range(3):
        studio.copy("film.mkv")
    wait_for(lambda: opened() <= before)  # its thread ends a moment later


ENDS_WITHOUT_END = "say('out_time_us=2000000', 'progress=continue')\nopen(target, 'w').write('x')"
GARBAGE = (
    "sys.stdout.buffer.write(bytes(range(256)) * 1000 + b'\\nout_time_us=N/A\\nspeed=nan\\n')\n"
    "say('frame=abc', 'progress=continue', 'out_time_us=-9223372036854775807', '=', '==x',\n"
    "    'progress=continue', 'progress=end')"
)
SILENT = "say('out_time_us=2000000', 'progress=end')\n"
LIES = {
    "no end": (ENDS_WITHOUT_END, "ended without saying that it was done"),
    "garbage": (GARBAGE, "worked through 0.0 s of 2.0 s"),
    "no file": (SILENT, "The output is not a whole file: There is no file"),
    "empty file": (SILENT + "open(target, 'w')", "The output is not a whole file: .* is empty"),
    "junk": (SILENT + "open(target, 'w').write('x' * 9999)", "The output is not a whole file"),
    "fails": ("sys.exit(3)", r"ffmpeg failed \(exit code 3\): it gave no reason"),
    "crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", r"ffmpeg failed \(killed by signal 11\)"),
    "floods": ("sys.stderr.write('x' * 10_000_000)\nsys.exit(1)", r"ffmpeg failed \(exit code 1\)"),
}


@pytest.mark.parametrize(("body", "sentence"), LIES.values(), ids=LIES)
def test_an_ffmpeg_that_lies(body: str, sentence: str, studio: Studio) -> None:
    studio.refuses(sentence, "film.mp4", how=studio.program(body))


def test_ffmpeg_is_given_what_the_report_says(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "given"
    body = (
        f"open({str(record)!r}, 'w').write('\\0'.join(sys.argv[1:]) + '\\0\\0'"
        " + '\\0'.join(os.environ))\n"
        "os.execv(ffmpeg, sys.argv)"
    )
    monkeypatch.setenv("HAAS_TMDB_TOKEN", "secret")
    report = studio.encode("film.mp4", how=studio.program(body))
    arguments, environment = record.read_text().split("\0\0")
    assert arguments.split("\0") == list(report.argv[1:])
    assert "HAAS_TMDB_TOKEN" not in environment.split("\0")
