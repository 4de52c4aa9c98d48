"""How far it is: from ffmpeg's lines, never backwards, at most once a second."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodeProgress
from haas_media.encoding.progress import ProgressMeter, Tick, TickParser
from tests.haas_media.encoding.conftest import make_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_media.encoding.conftest import Studio

BLOCK = """frame=50
fps=24.5
stream_0_0_q=-1.0
bitrate=  75.8kbits/s
total_size=18198
out_time_us=1920000
out_time_ms=1920000
out_time=00:00:01.920000
dup_frames=0
drop_frames=3
speed=20.9x
progress=continue
"""
UNREADABLE = ("N/A", "", "nan", "inf", "-inf", "1e400", "x", "9" * 40)


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        (BLOCK, [Tick(out_time=1.92, speed=20.9, dropped=3)]),
        # A block inherits nothing from the one before.
        (BLOCK + "progress=end\n", [Tick(1.92, 20.9, 3), Tick(ended=True)]),
        ("out_time_us=-21333\nprogress=continue\n", [Tick(out_time=0.0)]),
        *(
            (f"out_time_us={value}\nspeed={value}x\nprogress=continue\n", [Tick()])
            for value in UNREADABLE
        ),
    ],
)
def test_what_ffmpeg_writes(text: str, ticks: list[Tick]) -> None:
    parser = TickParser()
    assert [tick for line in text.splitlines() if (tick := parser.feed(line))] == ticks


def test_it_never_goes_back_and_is_whole_only_at_the_end() -> None:
    meter = ProgressMeter(duration=100)
    times = [10, 5, None, 50, 49, 100, 120]
    told = [meter.measure(Tick(out_time=seconds, speed=2.5)) for seconds in times]
    assert [each.percent for each in told] == [10, 10, 10, 50, 50, 99.9, 99.9]
    left = [each.remaining.total_seconds() for each in told if each.remaining is not None]
    assert left == [36, 36, 36, 20, 20, 0, 0]
    assert meter.complete(Tick(out_time=100)).percent == 100


def test_an_unknown_duration() -> None:
    told = ProgressMeter(duration=None).measure(Tick(out_time=25, speed=2.0))
    assert told == EncodeProgress(percent=0.0, speed=2.0, remaining=None)


def test_a_real_run_tells_once_a_second(studio: Studio, tmp_path: Path) -> None:
    source = studio.make("loop.mkv", f"-stream_loop 1 -i {studio.clips / 'film.mkv'} -c copy")
    slow = make_program(tmp_path / "slow", "os.execv(ffmpeg, [ffmpeg, '-re', *sys.argv[1:]])")
    told: list[tuple[float, EncodeProgress]] = []
    note = lambda progress: told.append((time.monotonic(), progress))  # noqa: E731
    studio.encode(source, how={"ffmpeg": slow, "on_progress": note})
    percents = [progress.percent for _, progress in told]
    assert len(told) > 1
    assert percents == sorted(percents)
    assert percents[-1] == 100
    # Not of the first: ffmpeg may have begun late.
    assert any(0 < percent < 100 for percent in percents)
    assert any(progress.speed and progress.remaining for _, progress in told)
    # The last is told when it is done, not when its second has come.
    moments = [moment for moment, _ in told[:-1]]
    assert all(later - sooner >= 0.99 for sooner, later in pairwise(moments))
