"""Find the crf at which a film looks as good as was asked for, on samples of it.

Source: VMAF, https://github.com/Netflix/vmaf; its scores are from 0 to 100.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haas_media.encoding.command import filters_of
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.ffmpeg import LOGGED, companion
from haas_media.encoding.losses import FINE_CLOCK
from haas_media.encoding.probe import read_argv
from haas_media.encoding.request import CRF_RANGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from haas_media.encoding.encoders import Encoder
    from haas_media.encoding.plan import Plan, Track
    from haas_media.encoding.runner import Finished

    Run = Callable[[list[str]], Finished]

# A very short film is its own sample. Of a short one several windows are taken, in which an encoder
# gets going; of a long one more and shorter ones, a share of it within bounds.
_WHOLE_SECONDS = 60.0
_SHORT_SAMPLE_SECONDS, _SHORT_WINDOW_SECONDS = 24.0, 4.0
_SAMPLE_SECONDS = (8.0, 40.0)
_SAMPLE_SHARE = 0.012
_WINDOW_SECONDS = 2.0
# Of what the encode will take. Of a short film the time is not worth a wrong quality.
_BUDGET_SHARE = 0.13
_SHORT_SECONDS = 300.0
_MOST_TRIALS = 7
_CLOSE_ENOUGH, _NEAR = 0.3, 0.8
# Where most films come out at a VMAF of 93, and how many points of it a step of crf costs there.
_TYPICAL = {"h264": (25.0, 1.2), "hevc": (26.0, 1.2), "av1": (36.0, 0.6), "vp9": (35.0, 0.6)}
_STEP = {"libx264": 0.25, "libx265": 0.25}
_SCORE = re.compile(r"VMAF score: (?P<score>[\d.]+)")
_4K_HEIGHT = 1200
# Demuxers that cannot seek, or land elsewhere.
_NOT_SOUGHT = {"h264", "hevc", "mpegvideo", "m4v", "mpeg", "obu"}


@dataclass(frozen=True, slots=True)
class Found:
    """A crf that was found, the VMAF that was ``target`` and ``measured`` on samples.

    ``seconds`` of the film were tried ``trials`` times, which took ``elapsed`` seconds.
    """

    crf: float
    target: float
    measured: float
    seconds: float
    trials: int
    elapsed: float

    def __str__(self) -> str:
        return (
            f"CRF {self.crf:g} gives a VMAF of {self.measured:.1f} (asked for: {self.target:g}), "
            f"measured on {self.seconds:.0f} s of it in {self.trials} trials, "
            f"{self.elapsed:.0f} s."
        )


def sample_seconds(plan: Plan) -> float:
    """Tell how many seconds of a film are tried."""
    seconds = sum(seconds for _, seconds in _windows(plan))
    return seconds if plan.duration is None else min(seconds, plan.duration)


def find_crf(
    target: float, plan: Plan, encoder: Encoder, ffmpeg: Path, sample: Path, run: Run
) -> Found:
    """Search the crf whose VMAF is nearest to the target.

    ``ffmpeg`` encodes; ``sample`` is a file that may be written; ``run`` runs a command. Raises
    EncodingError when nothing can be measured.
    """
    samples = _Samples(plan, encoder, ffmpeg, sample, run)
    low, high = CRF_RANGE[encoder.codec]
    step = _STEP.get(encoder.name, 1.0)
    typical, slope = _TYPICAL[encoder.codec]
    begun = time.monotonic()
    length = plan.duration or samples.seconds
    scores: dict[float, float] = {}
    crf = _rounded(typical + (93 - target) / slope, step, low, high)
    while crf not in scores and len(scores) < _MOST_TRIALS:
        tried = time.monotonic()
        scores[crf], speed = samples.measure(crf)
        now = time.monotonic()
        spent = now - begun + (now - tried) > _BUDGET_SHARE * length / speed
        enough = _NEAR if spent and length < _SHORT_SECONDS else _CLOSE_ENOUGH
        if abs(scores[crf] - target) <= enough or (spent and length >= _SHORT_SECONDS):
            break
        crf = _rounded(_guess(scores, target, slope), step, low, high)
    best = min(scores, key=lambda each: abs(scores[each] - target))
    return Found(best, target, scores[best], samples.seconds, len(scores), time.monotonic() - begun)


def _guess(scores: dict[float, float], target: float, slope: float) -> float:
    """Draw a line through the two trials that are nearest to the target, on both sides of it."""
    by_distance = sorted(scores, key=lambda crf: abs(scores[crf] - target))
    best = by_distance[0]
    other = next(
        (crf for crf in by_distance[1:] if (scores[crf] > target) != (scores[best] > target)),
        by_distance[1] if len(by_distance) > 1 else None,
    )
    if other is not None and scores[other] != scores[best]:
        measured = (scores[best] - scores[other]) / (other - best)
        if measured > 0:
            slope = max(measured, slope / 6)
    elif other is not None:
        slope /= 2
    return best + (scores[best] - target) / slope


def _rounded(crf: float, step: float, low: float, high: float) -> float:
    return min(high, max(low, round(crf / step) * step))


class _Samples:
    """Windows of a film, encoded as one, and compared with themselves."""

    def __init__(self, plan: Plan, encoder: Encoder, ffmpeg: Path, path: Path, run: Run) -> None:
        self._plan, self._encoder, self._path, self._run = plan, encoder, path, run
        self._ffmpeg = ffmpeg
        self._track: Track = plan.video[0]
        self._windows = _windows(plan)
        self.seconds = sample_seconds(plan)

    def measure(self, crf: float) -> tuple[float, float]:
        """Give the VMAF at a crf, and how many seconds of film were encoded in one."""
        codec = ["-c:v", self._encoder.name, *self._encoder.rate_arguments(crf, None)]
        pixels = self._encoder.pixel_format(self._track.stream.bit_depth)
        encoded = self._do(
            [
                *(str(self._ffmpeg), *LOGGED, "-y", *self._reads()),
                *("-filter_complex", f"{self._chain(0)}[v]", "-map", "[v]", *codec),
                # Every picture, by an option that older versions of ffmpeg know, too.
                *("-pix_fmt", pixels, "-enc_time_base", FINE_CLOCK),
                *("-f", "nut", f"file:{self._path}"),
            ],
            "encoded",
        )
        height = self._plan.height or self._track.stream.shown_size[1]
        model = "vmaf_4k_v0.6.1" if height > _4K_HEIGHT else "vmaf_v0.6.1"
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        # Counted anew, since containers round the times of pictures each in its own way.
        graph = (
            f"[0:v]settb=1/25,setpts=N[d];{self._chain(1)},format={pixels},settb=1/25,setpts=N[r];"
            f"[d][r]libvmaf=model=version={model}:n_threads={threads}"
        )
        finished = self._do(
            [
                *(str(companion()), *LOGGED, *read_argv(self._path, "nut"), *self._reads()),
                *("-filter_complex", graph, "-fps_mode", "passthrough", "-f", "null", "-"),
            ],
            "measured",
        )
        score = next(filter(None, map(_SCORE.search, finished.scores)), None)
        if score is None:
            raise EncodingError(
                "The quality of samples could not be measured: give a crf or video_bitrate."
            )
        return float(score["score"]), encoded.last.speed or 1.0

    def _reads(self) -> list[str]:
        media = self._plan.inputs[self._track.file]
        argv = []
        for start, seconds in self._windows:
            argv += ["-ss", f"{start:.3f}"] if start else []
            argv += ["-t", f"{seconds:.3f}", *read_argv(media.path, media.format)]
        return argv

    def _chain(self, first: int) -> str:
        """Join the windows and do to them what will be done to the film."""
        index = self._track.stream.index
        count = len(self._windows)
        inputs = "".join(f"[{first + number}:{index}]" for number in range(count))
        filters = filters_of(self._track, self._plan.height) or ["null"]
        return f"{inputs}concat=n={count}:v=1:a=0,{','.join(filters)}"

    def _do(self, argv: list[str], what: str) -> Finished:
        finished = self._run(argv)
        if not finished.succeeded:
            raise EncodingError(
                f"Samples of the source could not be {what} ({finished.reason}): give a crf or "
                "video_bitrate instead of a quality."
            )
        return finished


def _windows(plan: Plan) -> list[tuple[float, float]]:
    """List where samples begin and how many seconds each has, spread over the film."""
    sought = plan.inputs[plan.video[0].file].format not in _NOT_SOUGHT
    length = plan.duration if sought else None
    if length is None or length <= _WHOLE_SECONDS:
        return [(0.0, _WHOLE_SECONDS)]
    seconds, window = _SHORT_SAMPLE_SECONDS, _SHORT_WINDOW_SECONDS
    if length >= _SHORT_SECONDS:
        seconds = min(max(_SAMPLE_SECONDS[0], length * _SAMPLE_SHARE), _SAMPLE_SECONDS[1])
        window = _WINDOW_SECONDS
    count = round(seconds / window)
    each = seconds / count
    return [(length * (number + 0.5) / count - each / 2, each) for number in range(count)]
