"""How far it is: from ffmpeg's lines, never backwards, at most once a second."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from haas_media.encoding import EncodeProgress
from haas_media.encoding.progress import ProgressMeter, Tick, TickParser
from tests.haas_media.encoding.conftest import make_clips, make_program

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
drop_frames=0
speed=20.9x
progress=continue
"""


def parse(text: str) -> list[Tick]:
    parser = TickParser()
    ticks = [parser.feed(line) for line in text.splitlines()]
    return [tick for tick in ticks if tick is not None]


def test_a_block_becomes_a_tick() -> None:
    assert parse(BLOCK) == [Tick(out_time=1.92, speed=20.9, frame=50, fps=24.5)]
    assert parse(BLOCK.replace("continue", "end"))[0].ended


def test_milliseconds_are_microseconds_in_old_versions() -> None:
    assert parse("out_time_ms=1920000\nprogress=continue\n") == [Tick(out_time=1.92)]


def test_what_cannot_be_read_is_not_known() -> None:
    for value in ("N/A", "", "nan", "inf", "-inf", "1e400", "x", "9" * 40):
        fields = f"out_time_us={value}\nspeed={value}x\nfps={value}\nframe={value}\n"
        assert parse(f"{fields}progress=continue\n") == [Tick()], value


def test_a_negative_start_is_the_start() -> None:
    (tick,) = parse("out_time_us=-21333\nprogress=continue\n")
    assert tick.out_time == 0


def test_a_block_does_not_inherit_from_the_one_before() -> None:
    assert parse(BLOCK + "progress=end\n")[1] == Tick(ended=True)


def test_percent_and_remaining_time() -> None:
    meter = ProgressMeter(duration=100)
    assert meter.measure(Tick(out_time=25, speed=2.5)) == EncodeProgress(
        percent=25.0,
        out_time=timedelta(seconds=25),
        speed=2.5,
        remaining=timedelta(seconds=30),
    )


def test_it_never_goes_back_and_is_whole_only_at_the_end() -> None:
    meter = ProgressMeter(duration=100)
    times = [10, 5, None, 50, 49, 100, 120]
    told = [meter.measure(Tick(out_time=seconds)) for seconds in times]
    assert [each.percent for each in told] == [10, 10, 10, 50, 50, 99.9, 99.9]
    assert [each.out_time.total_seconds() for each in told] == [10, 10, 10, 50, 50, 100, 120]
    assert meter.complete(Tick(out_time=100)).percent == 100


def test_an_unknown_duration() -> None:
    told = ProgressMeter(duration=None).measure(Tick(out_time=25, speed=2.0))
    assert (told.percent, told.remaining) == (0.0, None)
    assert math.isclose(told.out_time.total_seconds(), 25)


def test_a_real_run_tells_once_a_second(studio: Studio, tmp_path: Path) -> None:
    make_clips(tmp_path, {"loop.mkv": f"-stream_loop 1 -i {studio.clips / 'film.mkv'} -c copy"})
    slow = make_program(tmp_path / "slow", "os.execv(ffmpeg, [ffmpeg, '-re', *sys.argv[1:]])")
    told: list[tuple[float, EncodeProgress]] = []
    note = lambda progress: told.append((time.monotonic(), progress))  # noqa: E731
    studio.encode(tmp_path / "loop.mkv", how={"ffmpeg": slow, "on_progress": note})
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
