"""An encoding against bare ffmpeg with the same arguments, and probing against bare PyAV.

    python -m benchmarks.encoding [--seconds 60] [--rounds 2] [--files 1000]

Each round encodes one film that keeps ffmpeg busy for about so many seconds, through ``encode`` and
bare at the same time, a processor for each; they change places from round to round, and the ratio
is that of the sums. Probing is measured file by file, each both ways. So what else the machine does
falls on both alike.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from haas_media import probe as scanning
from haas_media.encoding import EncodeRequest, encode, find_ffmpeg
from haas_media.encoding.probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.synchronize import Barrier

TARGET_ENCODE = 1.03
TARGET_PROBE = 1.2
PROBE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Row:
    """Two ways of doing one thing, in seconds, and the bound on their ratio."""

    what: str
    bare: float
    ours: float
    target: float

    def __str__(self) -> str:
        ratio = self.ours / self.bare
        verdict = "within" if ratio <= self.target else "ABOVE"
        return (
            f"{self.what:<44}{self.bare:>9.2f}{self.ours:>9.2f}{ratio:>8.3f}"
            f"   {verdict} {self.target}"
        )


def make_film(path: Path, seconds: float) -> None:
    """Make a film with sound. A small one is made first, and repeated without being encoded."""
    ffmpeg = str(find_ffmpeg())
    part = path.with_name("part.mkv")
    command = [ffmpeg, "-v", "error", "-nostdin", "-y"]
    picture = ["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=10"]
    tone = ["-f", "lavfi", "-i", "sine=d=10"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run([*command, *picture, *tone, *codecs, part], check=True)
    loops = ["-stream_loop", "-1", "-i", part, "-t", f"{seconds:.2f}", "-c", "copy"]
    subprocess.run([*command, *loops, path], check=True)


def encode_ours(film: Path, output: Path) -> tuple[str, ...]:
    """Encode through ``encode``; give the command."""
    request = EncodeRequest(source=str(film), output=str(output), video_codec="hevc")
    return encode(request, roots=[output.parent], on_progress=lambda _: None).argv


def encode_bare(argv: tuple[str, ...], output: Path) -> None:
    """Run the same command with nothing around it."""
    subprocess.run(
        [*argv[:-1], f"file:{output}"],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measure_encoding(folder: Path, seconds: float, rounds: int) -> Row:
    """Encode a film that takes about so long, both ways at once, a processor for each."""
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        raise SystemExit("The encodings are measured side by side: that needs two processors.")
    film, length = folder / "film.mkv", 20.0
    make_film(film, length)
    argv = encode_ours(film, folder / "film-first.mkv")
    trial, _ = side_by_side(film, argv, processors)
    make_film(film, length * seconds / trial)
    ours = bare = 0.0
    for number in range(rounds):
        taken = side_by_side(film, argv, processors)
        processors.reverse()  # who had the one has the other in the next round
        print(f"encoding, round {number + 1}: ours {taken[0]:.2f} s, bare {taken[1]:.2f} s")
        ours, bare = ours + taken[0], bare + taken[1]
    return Row(f"encoding, {rounds} x {bare / rounds:.0f} s", bare, ours, TARGET_ENCODE)


def side_by_side(film: Path, argv: tuple[str, ...], processors: list[int]) -> tuple[float, float]:
    """Encode in our way and bare at the same time; give how many seconds each took."""
    spawn = multiprocessing.get_context("spawn")  # a process of each way's own, as in a real run
    ready, told = spawn.Barrier(2), spawn.SimpleQueue()
    ways = [
        spawn.Process(target=_timed, args=(way, film, argv, processor, ready, told))
        for way, processor in zip(("ours", "bare"), processors, strict=True)
    ]
    for process in ways:
        process.start()
    taken = dict(told.get() for _ in ways)
    for process in ways:
        process.join()
    return taken["ours"], taken["bare"]


def _timed(
    way: str, film: Path, argv: tuple[str, ...], processor: int, ready: Barrier, told: Any
) -> None:
    os.sched_setaffinity(0, {processor})
    output = film.with_name(f"film-{way}.mkv")
    ready.wait()
    begun = time.perf_counter()
    if way == "ours":
        encode_ours(film, output)
    else:
        encode_bare(argv, output)
    told.put((way, time.perf_counter() - begun))


def probe_bare(path: Path) -> None:
    """Read with PyAV what a program would want to know."""
    with av.open(str(path)) as container:
        _ = (container.format.name, container.duration)
        for stream in container.streams:
            context = stream.codec_context
            _ = (stream.index, stream.type, context.name, stream.duration, stream.metadata)
            if stream.type == "video":
                _ = (context.width, context.height, context.pix_fmt, stream.average_rate)


def measure_probing(folder: Path, files: int) -> list[Row]:
    """Probe many files, each in all ways, one after the other."""
    film = folder / "short.mkv"
    make_film(film, 5)
    paths = [folder / "many" / f"film-{number:04}.mkv" for number in range(files)]
    paths[0].parent.mkdir()
    for path in paths:
        shutil.copyfile(film, path)
    ways: dict[str, Callable[[Path], object]] = {
        "bare": probe_bare,
        "encoding's probe": probe,
        "the scan's probe": scanning.probe,
    }
    with _no_collections():
        best = {name: [float("inf")] * files for name in ways}
        for _ in range(PROBE_ROUNDS):
            for number, path in enumerate(paths):
                for name, way in ways.items():
                    begun = time.perf_counter()
                    way(path)
                    taken = time.perf_counter() - begun
                    best[name][number] = min(best[name][number], taken)
    bare = sum(best.pop("bare"))
    return [
        Row(f"{name}, {files} files", bare, sum(taken), TARGET_PROBE)
        for name, taken in best.items()
    ]


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="length of an encoding")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--files", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measure_probing(folder, given.files)
        rows.append(measure_encoding(folder, given.seconds, given.rounds))
    print(f"{'':<44}{'bare s':>9}{'ours s':>9}{'ratio':>8}   target")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
