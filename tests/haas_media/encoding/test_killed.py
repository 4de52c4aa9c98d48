"""An encoding that is cancelled or killed, at any instant."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest

from haas_media.encoding import EncodeRequest, EncodingError, encode
from tests.haas_media.encoding.processes import (
    Run,
    Watcher,
    hidden,
    instants,
    mentioning,
    names,
    state,
    wait_until_gone,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OLD = b"the file that was there before"

# A short clip is done in 0.3 s: those instants fall on its checks and its renaming too.
LONG = [("long", instant) for instant in instants(1, 12, 1.5)]
SHORT = [("short", instant) for instant in instants(2, 8, 0.45)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> dict[str, Path]:
    import imageio_ffmpeg

    long = tmp_path_factory.mktemp("sources") / "long.mkv"
    subprocess.run(
        [
            *[imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"],
            *["-f", "lavfi", "-i", "testsrc2=s=640x480:r=25:d=20"],
            *["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", long],
        ],
        check=True,
    )
    return {"long": long, "short": clips / "film.mkv"}


@pytest.mark.parametrize(("length", "instant"), LONG + SHORT)
def test_sigterm(length: str, instant: float, sources: dict[str, Path], library: Path) -> None:
    output = library / "out.mkv"
    output.write_bytes(OLD)
    old = state(output)
    with Watcher(output) as watcher:
        run = Run(sources[length], output)
        sent = run.signal_after(instant, signal.SIGTERM)
        wait_until_gone(str(library), sent)
        said = run.finish()
    assert hidden(library) == []
    _check_output(output, old, watcher, replaced="done" in said or length == "short")
    if length == "long":
        assert said == "terminated\n"


@pytest.mark.parametrize(("length", "instant"), LONG + SHORT)
def test_sigkill(length: str, instant: float, sources: dict[str, Path], library: Path) -> None:
    output = library / "out.mkv"
    output.write_bytes(OLD)
    old = state(output)
    with Watcher(output) as watcher:
        run = Run(sources[length], output)
        sent = run.signal_after(instant, signal.SIGKILL)
        wait_until_gone(str(library), sent)
        said = run.finish()
    _check_output(output, old, watcher, replaced="done" in said or length == "short")

    # The next run, of another film in the same folder, clears up.
    encode(
        EncodeRequest(
            source=str(sources["short"]), output=str(library / "next.mkv"), video_codec="copy"
        ),
        roots=[library],
    )
    assert names(library) == ["next.mkv", "out.mkv"]


def test_ctrl_c(sources: dict[str, Path], library: Path) -> None:
    run = Run(sources["long"], library / "out.mkv")
    sent = run.signal_after(0.5, signal.SIGINT)
    wait_until_gone(str(library), sent)
    assert run.finish() == "interrupted\n"
    assert names(library) == []


def test_an_impatient_sigterm(sources: dict[str, Path], library: Path) -> None:
    """Sent again while the first is being obeyed."""
    run = Run(sources["long"], library / "out.mkv")
    _wait_for(lambda: len(mentioning(str(library))) == 2)
    sent = run.signal_after(0.2, signal.SIGTERM)
    run.signal_after(0.003, signal.SIGTERM)
    wait_until_gone(str(library), sent)
    assert run.finish() == "terminated\n"
    assert names(library) == []


def _check_output(
    output: Path, old: tuple[int, int] | None, watcher: Watcher, *, replaced: bool
) -> None:
    """Nobody ever saw anything but the old file, whole, or the new one, whole."""
    if not replaced or state(output) == old:
        assert output.read_bytes() == OLD
        assert watcher.seen == {old}
        return
    assert watcher.seen <= {old, state(output)}
    with av.open(str(output)) as container:
        assert container.duration > 1_900_000


def test_the_output_appears_whole(sources: dict[str, Path], library: Path) -> None:
    output = library / "out.mkv"
    with Watcher(output) as watcher:
        run = Run(sources["short"], output)
        assert run.finish() == "done\n"
    assert watcher.seen == {None, state(output)}


def test_a_live_run_is_left_alone_by_the_sweep(sources: dict[str, Path], library: Path) -> None:
    run = Run(sources["long"], library / "long.mkv", "vp9")
    _wait_for(lambda: len(hidden(library)) == 2)
    before = hidden(library)
    encode(
        EncodeRequest(
            source=str(sources["short"]), output=str(library / "next.mkv"), video_codec="copy"
        ),
        roots=[library],
    )
    assert hidden(library) == before
    sent = run.signal_after(0, signal.SIGTERM)
    wait_until_gone(str(library), sent)
    assert run.finish() == "terminated\n"
    assert names(library) == ["next.mkv"]


def test_the_guard_and_ffmpeg_hold_the_lock_too(sources: dict[str, Path], library: Path) -> None:
    """So that no sweep takes the file of a run that is dead, but whose ffmpeg is not quite yet."""
    run = Run(sources["long"], library / "long.mkv", "vp9")
    _wait_for(lambda: len(mentioning(str(library))) == 2)
    (lock,) = (library / name for name in hidden(library) if name.endswith("lock"))
    for process in mentioning(str(library)):
        descriptors = Path(f"/proc/{process}/fd").iterdir()
        assert str(lock) in [str(descriptor.readlink()) for descriptor in descriptors]
    run.signal_after(0, signal.SIGTERM)
    assert run.finish() == "terminated\n"


def test_two_runs_at_once_to_one_output(sources: dict[str, Path], library: Path) -> None:
    output = library / "out.mkv"
    runs = [Run(sources["short"], output) for _ in range(2)]
    assert [run.finish() for run in runs] == ["done\n"] * 2
    assert names(library) == ["out.mkv"]


def _stub(folder: Path, body: str) -> str:
    """Make an executable that stands in for ffmpeg; it lists encoders as the real one does."""
    path = folder / "ffmpeg-stub"
    path.write_text(
        f"#!{sys.executable} -S\n"
        "import os, signal, subprocess, sys, time\n"
        "if '-encoders' in sys.argv:\n"
        "    print(' V....D libx264  H.264')\n"
        "    sys.exit()\n"
        "target = sys.argv[-1].removeprefix('file:')\n"
        "def say(*lines):\n"
        "    print(*lines, sep='\\n', flush=True)\n"
        f"{body}"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


HANGS = """
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
open(target, "w").write("half a film")
while True:
    time.sleep(60)
"""
WRAPPED = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", target])
open(target, "w").write("half a film")
child.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("body", [HANGS, WRAPPED], ids=["ignores signals", "wrapper script"])
def test_a_stubborn_ffmpeg_is_gone_within_a_second(
    number: signal.Signals, body: str, sources: dict[str, Path], library: Path, tmp_path: Path
) -> None:
    run = Run(sources["short"], library / "out.mkv", ffmpeg=_stub(tmp_path, body))
    _wait_for(lambda: any("partial" in name for name in hidden(library)))
    assert len(mentioning(str(library))) >= 2
    sent = run.signal_after(0.1, number)
    wait_until_gone(str(library), sent)
    run.finish()
    if number == signal.SIGTERM:
        assert hidden(library) == []


def test_ffmpeg_dies_with_its_guard(sources: dict[str, Path], library: Path) -> None:
    """Whoever kills the guard alone has not set ffmpeg free, and the run notices."""
    run = Run(sources["long"], library / "out.mkv", "vp9")
    _wait_for(lambda: len(mentioning(str(library))) == 2)
    guard = min(mentioning(str(library)))
    os.kill(guard, signal.SIGKILL)
    wait_until_gone(str(library), time.monotonic())
    assert run.finish().startswith("failed: ffmpeg failed (killed by signal 9;")
    assert hidden(library) == []


def test_ffmpeg_killed_by_somebody_else(sources: dict[str, Path], library: Path) -> None:
    """The out-of-memory killer, for one."""
    output = library / "out.mkv"
    output.write_bytes(OLD)
    run = Run(sources["long"], output, "vp9")
    _wait_for(lambda: len(mentioning(str(library))) == 2)
    os.kill(max(mentioning(str(library))), signal.SIGKILL)
    assert run.finish() == (
        "failed: ffmpeg failed (killed by signal 9; the machine may have run out of memory): "
        "it gave no reason.\n"
    )
    assert output.read_bytes() == OLD
    assert hidden(library) == []


def test_the_lifeline_alone_is_enough(tmp_path: Path) -> None:
    """Where the kernel does not tell of a parent's death, the end of standard input does."""
    guard = subprocess.Popen(
        [sys.executable, "-c", _WITHOUT_PRCTL, sys.executable, "-c", _SLEEP, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert guard.stdout is not None
    assert guard.stdin is not None
    assert guard.stdout.readline().startswith(b"guarded_pid=")
    _wait_for(lambda: len(mentioning(str(tmp_path))) == 2)
    guard.stdin.close()
    wait_until_gone(str(tmp_path), time.monotonic())
    assert guard.wait() == 128 + signal.SIGKILL


def test_the_kernel_alone_is_enough(tmp_path: Path) -> None:
    """Should another process hold the lifeline's end, the kernel tells of the parent's death."""
    reader, writer = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", _STARTS_A_GUARD, str(tmp_path), sys.executable, "-c", _SLEEP],
        stdin=reader,
    )
    _wait_for(lambda: len(mentioning(str(tmp_path))) == 3)
    parent.kill()
    parent.wait()
    wait_until_gone(str(tmp_path), time.monotonic())
    os.close(writer)
    os.close(reader)


_SLEEP = "import time; time.sleep(60)"
_WITHOUT_PRCTL = (
    "import sys; from haas_media.encoding import guard;"
    "guard._prctl = lambda *_: None; sys.exit(guard.main(sys.argv[1:]))"
)
_STARTS_A_GUARD = (
    "import subprocess, sys; from haas_media.encoding import guard;"
    "subprocess.run([sys.executable, '-I', '-S', guard.__file__, *sys.argv[2:], sys.argv[1]])"
)


def test_what_a_callback_raises_ends_the_encoding(sources: dict[str, Path], library: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(_: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        encode(
            EncodeRequest(
                source=str(sources["long"]), output=str(library / "x.webm"), video_codec="vp9"
            ),
            roots=[library],
            on_progress=stop,
        )
    assert mentioning(str(library)) == []
    assert names(library) == []


def test_in_a_thread_that_is_not_the_main_one(sources: dict[str, Path], library: Path) -> None:
    """The guard must not take the end of some thread for the end of the process."""
    results: list[object] = []

    def work() -> None:
        try:
            request = EncodeRequest(source=str(sources["short"]), output=str(library / "x.mkv"))
            results.append(encode(request, roots=[library]))
        except EncodingError as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(result).__name__ for result in results] == ["EncodeReport"]


def test_nothing_is_left_open(sources: dict[str, Path], library: Path) -> None:
    request = EncodeRequest(
        source=str(sources["short"]), output=str(library / "x.mkv"), video_codec="copy"
    )
    encode(request, roots=[library])
    descriptors, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for _ in range(3):
        encode(request, roots=[library])
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert threading.active_count() == threads


ENDS_WITHOUT_END = "say('out_time_us=2000000', 'progress=continue')\nopen(target, 'w').write('x')\n"
GARBAGE = (
    "sys.stdout.buffer.write(bytes(range(256)) * 1000 + b'\\nout_time_us=N/A\\nspeed=nan\\n')\n"
    "say('frame=abc', 'progress=continue', 'out_time_us=-9223372036854775807', '=', '==x',\n"
    "    'progress=continue', 'progress=end')\n"
)
SILENT = "say('out_time_us=2000000', 'progress=end')\n"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (ENDS_WITHOUT_END, "ended without saying that it was done"),
        (GARBAGE, "worked through 0.0 s of 2.0 s"),
        (SILENT, "The output is not a whole file: There is no file"),
        (SILENT + "open(target, 'w')\n", "The output is not a whole file: .* is empty"),
        (SILENT + "open(target, 'w').write('x' * 9999)\n", "The output is not a whole file"),
        ("sys.exit(3)\n", r"ffmpeg failed \(exit code 3\): it gave no reason"),
        ("os.kill(os.getpid(), signal.SIGSEGV)\n", r"ffmpeg failed \(killed by signal 11\)"),
        ("sys.stderr.write('x' * 10_000_000)\nsys.exit(1)\n", r"ffmpeg failed \(exit code 1\)"),
    ],
    ids=["no end", "garbage", "no file", "empty file", "junk", "fails", "crashes", "floods"],
)
def test_an_ffmpeg_that_lies(
    body: str, sentence: str, clips: Path, library: Path, tmp_path: Path
) -> None:
    output = library / "out.mkv"
    output.write_bytes(OLD)
    request = EncodeRequest(source=str(clips / "film.mp4"), output=str(output))
    with pytest.raises(EncodingError, match=sentence):
        encode(request, roots=[library], ffmpeg=_stub(tmp_path, body))
    assert output.read_bytes() == OLD
    assert names(library) == ["out.mkv"]


def test_ffmpeg_is_given_what_the_report_says(clips: Path, library: Path, tmp_path: Path) -> None:
    import imageio_ffmpeg

    record = tmp_path / "given"
    body = (
        f"open({str(record)!r}, 'w').write('\\0'.join(sys.argv[1:]) + '\\0\\0'"
        " + '\\0'.join(os.environ))\n"
        f"os.execv({imageio_ffmpeg.get_ffmpeg_exe()!r}, sys.argv)\n"
    )
    os.environ["HAAS_TMDB_TOKEN"] = "secret"
    try:
        report = encode(
            EncodeRequest(source=str(clips / "film.mp4"), output=str(library / "out.mkv")),
            roots=[library],
            ffmpeg=_stub(tmp_path, body),
        )
    finally:
        del os.environ["HAAS_TMDB_TOKEN"]
    arguments, environment = record.read_text().split("\0\0")
    assert arguments.split("\0") == list(report.argv[1:])
    assert "HAAS_TMDB_TOKEN" not in environment.split("\0")


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
