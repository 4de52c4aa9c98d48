"""An encoding against bare ffmpeg with the same arguments, and probing against bare PyAV.

    python -m benchmarks.encoding [--seconds 60] [--rounds 2] [--files 1000]

Each round encodes one film that keeps ffmpeg busy for about so many seconds, through ``encode`` and
bare at the same time, a processor for each; they change places from round to round, and the ratio
is that of the sums. A copy, whose output is decoded, is held against bare copying and one pass of
decoding. Probing is measured file by file, each both ways. So what else the machine does falls on
both alike.
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

from haas_media.encoding import EncodeRequest, encode, find_ffmpeg
from haas_media.encoding.guard import give_way
from haas_media.probe import streams as scanning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.synchronize import Barrier

# What is measured, how it is asked for, and how long a film takes seconds already.
WAYS: list[tuple[str, dict[str, Any], float]] = [
    ("encoding, verify quick", {"video_codec": "hevc"}, 20),
    ("encoding, verify full", {"video_codec": "hevc", "verify": "full"}, 20),
    ("copy, beside copying and decoding", {"video_codec": "copy"}, 600),
]
TARGETS = {"encoding, verify quick": 1.03}
TARGET_PROBE = 1.2
PROBE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Row:
    """Two ways of doing one thing, in seconds, and the bound on their ratio, if there is one."""

    what: str
    bare: float
    ours: float
    target: float | None

    def __str__(self) -> str:
        ratio = self.ours / self.bare
        verdict = "within" if self.target is None or ratio <= self.target else "ABOVE"
        bound = "" if self.target is None else f"   {verdict} {self.target}"
        return f"{self.what:<54}{self.bare:>9.2f}{self.ours:>9.2f}{ratio:>8.3f}{bound}"


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


def encode_ours(film: Path, output: Path, **values: Any) -> tuple[str, ...]:
    """Encode as the flow does, and give the command."""
    request = EncodeRequest(source=str(film), output=str(output), **values)
    return encode(request, roots=[output.parent], on_progress=lambda _: None).argv


def encode_bare(argv: tuple[str, ...], output: Path, *, decodes: bool) -> None:
    """Run the same command with nothing around it, and decode what was copied once."""
    commands = [[*argv[:-1], f"file:{output}"]]
    if decodes:
        commands += [[argv[0], "-nostdin", "-i", str(output), "-map", "0", "-f", "null", "-"]]
    for command in commands:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        # At a niceness like that of ours: an encoder's threads may leave their processor.
        subprocess.run(  # type: ignore[call-overload]
            command, check=True, start_new_session=True, preexec_fn=give_way, **streams
        )


def measure_encoding(folder: Path, seconds: float, rounds: int) -> list[Row]:
    """Encode films that take about so long, both ways at once, a processor for each."""
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        raise SystemExit("The encodings are measured side by side: that needs two processors.")
    rows = []
    for what, values, length in WAYS:
        film = folder / "film.mkv"
        make_film(film, length)
        argv = encode_ours(film, folder / "film-first.mkv", **values)
        trial = side_by_side(film, argv, values, processors)["ours"][1]
        make_film(film, length * seconds / trial)
        sums = {way: [0.0, 0.0] for way in ("ours", "bare")}
        for _ in range(rounds):
            for way, taken in side_by_side(film, argv, values, processors).items():
                sums[way] = [had + new for had, new in zip(sums[way], taken, strict=True)]
            processors.reverse()  # who had the one has the other in the next round
        for number, kind in enumerate(("on the clock", "of processors")):
            name = f"{what}, {rounds} x, {kind}"
            rows.append(Row(name, sums["bare"][number], sums["ours"][number], TARGETS.get(what)))
    return rows


def side_by_side(
    film: Path, argv: tuple[str, ...], values: dict[str, Any], processors: list[int]
) -> dict[str, tuple[float, float]]:
    """Encode in our way and bare at once; give seconds on the clock and of processors for each."""
    spawn = multiprocessing.get_context("spawn")  # a process of each way's own, as in a real run
    ready, told = spawn.Barrier(2), spawn.SimpleQueue()
    ways = [
        spawn.Process(target=_timed, args=(way, film, argv, values, processor, ready, told))
        for way, processor in zip(("ours", "bare"), processors, strict=True)
    ]
    for process in ways:
        process.start()
    taken = dict(told.get() for _ in ways)
    for process in ways:
        process.join()
    return taken


def _timed(
    way: str,
    film: Path,
    argv: tuple[str, ...],
    values: dict[str, Any],
    processor: int,
    ready: Barrier,
    told: Any,
) -> None:
    os.sched_setaffinity(0, {processor})
    output = film.with_name(f"film-{way}.mkv")
    ready.wait()
    begun, used = time.perf_counter(), sum(os.times()[:4])
    if way == "ours":
        encode_ours(film, output, **values)
    else:
        encode_bare(argv, output, decodes=values["video_codec"] == "copy")
    told.put((way, (time.perf_counter() - begun, sum(os.times()[:4]) - used)))


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
    """Probe many files, each both ways. What an encoding reads decodes, and counts as its cost."""
    film = folder / "short.mkv"
    make_film(film, 5)
    paths = [folder / "many" / f"film-{number:04}.mkv" for number in range(files)]
    paths[0].parent.mkdir()
    for path in paths:
        shutil.copyfile(film, path)
    ways: dict[str, Callable[[Path], object]] = {
        "bare": probe_bare,
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
        rows += measure_encoding(folder, given.seconds, given.rounds)
    print(f"{'':<54}{'bare s':>9}{'ours s':>9}{'ratio':>8}   target")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
