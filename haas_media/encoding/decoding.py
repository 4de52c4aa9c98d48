"""Decode a file as a player would, and compare some pictures of an output with the source's."""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

from haas_media.encoding.command import filters_of
from haas_media.encoding.damage import clock, places
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.ffmpeg import LOGGED, companion
from haas_media.encoding.probe import CLOCKED, read_argv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from haas_media.encoding.damage import Damage
    from haas_media.encoding.plan import Plan, Track
    from haas_media.encoding.probe import MediaFile
    from haas_media.encoding.runner import Finished

    Run = Callable[[list[str]], Finished]

_POINTS = 6
_POINT_SECONDS = 0.4
# Of pictures so small that only what is another picture differs: in decibels.
_SMALL = "scale=64:36:flags=area,format=gray,setsar=1,setpts=PTS-STARTPTS"
_ALIKE = 18.0
_PSNR = re.compile(r"^\[psnr@(?P<number>\d+) .* max:(?P<best>inf|[\d.]+)")


def decode(media: MediaFile, plan: Plan, tracks: Sequence[Track], run: Run) -> tuple[Damage, ...]:
    """Decode some tracks of an output; give the damage that the decoders met, with its places."""
    chosen = [
        f"0:{index}"
        for index, track in enumerate(plan.tracks)
        if track in tracks and track.kind in {"video", "audio"}
    ]
    if not chosen:
        return ()
    finished = run(_argv([media], chosen))
    if not finished.succeeded:
        raise EncodingError(f"The output cannot be decoded ({finished.reason}), so it is not used.")
    return _placed([media], chosen, run) or finished.damage if finished.damage else ()


def locate(plan: Plan, run: Run) -> tuple[Damage, ...]:
    """Decode the source once more, for the places in time at which it is damaged."""
    chosen = [
        f"{track.file}:{track.stream.index}"
        for track in plan.tracks
        if track.kind in {"video", "audio"}
    ]
    return _placed(plan.inputs, chosen, run)


def _placed(files: Sequence[MediaFile], chosen: list[str], run: Run) -> tuple[Damage, ...]:
    # ffmpeg tells the time of each picture at a cost that only what is damaged has to bear.
    return run(_argv(files, chosen, "-debug_ts")).damage


def _argv(files: Sequence[MediaFile], chosen: list[str], *options: str) -> list[str]:
    argv = [str(companion()), *LOGGED, *options]
    for media in files:
        argv += read_argv(media.path, media.format)
    for stream in chosen:
        argv += ["-map", stream]
    return [*argv, "-fps_mode", "passthrough", "-f", "null", "-"]


def refuse_faulty(damage: tuple[Damage, ...]) -> None:
    """Refuse an output that was encoded well, but does not decode. Raises EncodingError."""
    if damage:
        raise EncodingError(
            f"The output does not decode {places(damage)} ({damage[0].message}), so it is not "
            "used: check the disk and the memory of this machine, and run it again."
        )


def forget_cached(path: Path) -> None:
    """Have the file read from its disk again, not from memory."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def compare(media: MediaFile, plan: Plan, run: Run) -> None:
    """Compare pictures of the output with the source's, at points all over it.

    Raises EncodingError with the place where they are not the same ones.
    """
    if not plan.video or plan.duration is None:
        return
    track = plan.video[0]
    source = plan.inputs[track.file]
    begins, ends = track.stream.begins, track.stream.ends or plan.duration
    at = [begins + (ends - begins) * (number + 0.5) / _POINTS for number in range(_POINTS)]
    at[0] = begins  # where there is a picture, however long one stands
    reads: list[list[str]] = []
    graphs: list[str] = []
    filters = ",".join([*filters_of(track, plan.height), _SMALL])
    by_clock = source.format in CLOCKED
    if by_clock:  # cannot be sought in to the picture
        reads.append(_read(source))
        parts = "".join(f"[s{number}]" for number in range(_POINTS))
        graphs.append(f"[0:{track.stream.index}]split={_POINTS}{parts}")
    for number, seconds in enumerate(at):
        if by_clock:
            one = f"[s{number}]trim=start={seconds:.3f}:duration={_POINT_SECONDS},"
        else:
            one = f"[{len(reads)}:{track.stream.index}]"
            reads.append(_window(source, seconds))
        other = f"[{len(reads)}:v:0]"
        reads.append(_window(media, seconds - plan.begins))
        graphs.append(
            f"{one}{filters}[a{number}];{other}{_SMALL}[b{number}];"
            f"[a{number}][b{number}]psnr@{number}[c{number}]"
        )
    # One after the other: an output of a window in which no picture begins would be an error.
    parts = "".join(f"[c{number}]" for number in range(_POINTS))
    graphs.append(f"{parts}concat=n={_POINTS}[c]")
    finished = run(
        [
            *(str(companion()), *LOGGED, *itertools.chain.from_iterable(reads)),
            *("-filter_complex", ";".join(graphs), "-map", "[c]"),
            *("-fps_mode", "passthrough", "-f", "null", "-"),
        ]
    )
    if finished.returncode != 0 or not finished.scores:
        raise EncodingError("The output could not be compared with its source, so it is not used.")
    # Where a picture stands for long, no other may begin in a window: nothing to compare there.
    for match in filter(None, map(_PSNR.match, finished.scores)):
        seconds = at[int(match["number"])]
        if float(match["best"]) < _ALIKE:
            raise EncodingError(
                f"The output shows another picture than its source at {clock(seconds)}, so it is "
                "not used: run it again, with another encoder if it happens again."
            )


def _window(media: MediaFile, seconds: float) -> list[str]:
    """Give the arguments that read a file from a point on, for as long as is compared."""
    # An AVI file that is sought in to its beginning is read from its second picture on.
    start = ["-ss", f"{seconds:.3f}"] if seconds > 0 else []
    return [*start, "-t", f"{_POINT_SECONDS}", *_read(media)]


def _read(media: MediaFile) -> list[str]:
    # Pictures may change their size in the middle: a graph that is made anew waits for ever.
    return ["-reinit_filter", "0", *read_argv(media.path, media.format)]
