"""A sample library of real small clips: films and episodes, told apart in every way there is.

The titles are open films and works in the public domain; their pictures are test patterns.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILMS = "films"
SHOWS = "shows"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
SUBTITLE = "1\n00:00:00,200 --> 00:00:01,500\nA subtitle of the sample library.\n"


class SampleError(Exception):
    """A clip or film could not be made. The text says why."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video file of the sample library: its path, length in seconds, size in pixels."""

    path: str
    seconds: int = 2
    size: str = "320x180"


# How each one is identified stands beside it.
CLIPS = (
    # NFO files
    Clip("films/Metropolis (1927)/Metropolis.mkv"),
    Clip("films/Nosferatu (1922)/nosf-restored-disc1.mkv"),
    Clip("films/Sintel (2010)/Sintel (2010).mkv"),
    # a name alone
    Clip("films/Big Buck Bunny (2008)/Big.Buck.Bunny.2008.720p.mkv", seconds=12, size="1280x720"),
    Clip("films/Big Buck Bunny (2008)/Big.Buck.Bunny.2008.360p.mkv", size="640x360"),
    Clip("films/Elephants Dream (2006).mp4"),
    Clip("films/Tears.of.Steel.2012.1080p.BluRay.x264-OPEN.mkv"),
    Clip("films/Cosmos Laundromat (2015)/Cosmos Laundromat (2015).mkv"),
    Clip("films/His Girl Friday (1940)/His Girl Friday.mkv"),
    Clip("films/Charade (1963)/Charade.1963.DVDRip.mkv"),
    # an id tag, which always wins
    Clip("films/The General (1926) {tmdb-961}/The General.mkv"),
    # no titles of their own
    Clip("films/Sintel (2010)/trailers/Sintel - teaser.mkv"),
    Clip("films/Cosmos Laundromat (2015)/Sample/cosmos-sample.mkv"),
    # nothing to go by: listed as unmatched
    Clip("films/incoming/8f3a9c2e71d04b55.mkv"),
    # NFO files
    Clip("shows/Sherlock Holmes/Season 01/Sherlock Holmes - S01E01.mkv"),
    Clip("shows/Sherlock Holmes/Season 01/Sherlock Holmes - S01E02.mkv"),
    # names: S01E01, several episodes, specials, 1x01, a season's folder, a date
    Clip("shows/Sherlock Holmes/Season 01/Sherlock Holmes - S01E03-E04.mkv"),
    Clip("shows/Sherlock Holmes/Specials/Sherlock Holmes - S00E01 - The Making Of.mkv"),
    Clip("shows/One Step Beyond (1959)/Season 1/one.step.beyond.1x01.mkv"),
    Clip("shows/One Step Beyond (1959)/Season 1/one.step.beyond.1x02.mkv"),
    Clip("shows/One Step Beyond (1959)/Season 2/one.step.beyond.2x01.mkv"),
    Clip("shows/Dragnet (1951)/Season 2/Dragnet.S02E01.The.Human.Bomb.mkv"),
    Clip("shows/Dragnet (1951)/Season 2/Dragnet.S02E02.The.Big.Actor.mkv"),
    Clip("shows/Morning Report/Morning Report 2024-05-17.mkv"),
    Clip("shows/Morning Report/Morning Report 2024-05-20.mkv"),
)

SIDECARS = {
    "films/Metropolis (1927)/movie.nfo": """\
<?xml version="1.0" encoding="UTF-8"?>
<movie>
  <title>Metropolis</title>
  <year>1927</year>
  <plot>In a city of the future the son of its master meets those who keep it running.</plot>
  <runtime>153</runtime>
  <genre>Science Fiction</genre>
  <director>Fritz Lang</director>
</movie>
""",
    "films/Nosferatu (1922)/nosf-restored-disc1.nfo": """\
<movie>
  <title>Nosferatu</title>
  <originaltitle>Nosferatu, eine Symphonie des Grauens</originaltitle>
  <year>1922</year>
  <director>F. W. Murnau</director>
</movie>
""",
    "films/Sintel (2010)/Sintel (2010).nfo": """\
<movie>
  <title>Sintel</title>
  <year>2010</year>
  <plot>A girl looks for the dragon that was her friend.</plot>
  <director>Colin Levy</director>
</movie>
""",
    "films/Sintel (2010)/Sintel (2010).en.srt": SUBTITLE,
    "shows/Sherlock Holmes/tvshow.nfo": """\
<tvshow>
  <title>Sherlock Holmes</title>
  <year>1954</year>
  <plot>The consulting detective of 221B Baker Street.</plot>
</tvshow>
""",
    "shows/Sherlock Holmes/Season 01/Sherlock Holmes - S01E01.nfo": """\
<episodedetails>
  <title>The Case of the Cunningham Heritage</title>
  <season>1</season>
  <episode>1</episode>
  <aired>1954-10-18</aired>
</episodedetails>
""",
    "shows/Sherlock Holmes/Season 01/Sherlock Holmes - S01E02.nfo": """\
<episodedetails>
  <title>The Case of Lady Beryl</title>
  <season>1</season>
  <episode>2</episode>
  <aired>1954-10-25</aired>
</episodedetails>
""",
    "shows/Sherlock Holmes/Season 01/Sherlock Holmes - S01E02.en.srt": SUBTITLE,
}


@dataclass(frozen=True, slots=True)
class SampleLibrary:
    """Where the sample library is."""

    root: Path

    @property
    def films(self) -> Path:
        """The folder of the films."""
        return self.root / FILMS

    @property
    def shows(self) -> Path:
        """The folder of the shows."""
        return self.root / SHOWS

    def libraries(self) -> list[dict[str, str]]:
        """Return the two libraries, as ``HAAS_LIBRARIES`` takes them."""
        return [
            {"title": "Films", "kind": "movies", "path": str(self.films)},
            {"title": "Shows", "kind": "tv", "path": str(self.shows)},
        ]


def make_samples(
    root: Path, ffmpeg: Path, on_clip: Callable[[int, int], None] = lambda *_: None
) -> SampleLibrary:
    """Make the sample library, or what is missing of it.

    Args:
        root: its folder.
        ffmpeg: the ffmpeg that makes the clips.
        on_clip: called with how many clips there are, and how many there will be.

    Raises:
        SampleError: ffmpeg fails.
    """
    done = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for _ in pool.map(lambda at: _make_clip(root, ffmpeg, at, CLIPS[at]), range(len(CLIPS))):
            done += 1
            on_clip(done, len(CLIPS))
    for path, text in SIDECARS.items():
        sidecar = root / path
        if not sidecar.exists():
            sidecar.parent.mkdir(parents=True, exist_ok=True)
            sidecar.write_text(text, encoding="utf-8")
    return SampleLibrary(root)


def _make_clip(root: Path, ffmpeg: Path, number: int, clip: Clip) -> None:
    target = root / clip.path
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        _run(ffmpeg, target, *_arguments(number, clip), f"file:{partial}")
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def _arguments(number: int, clip: Clip) -> list[str]:
    hue = number * 360 // len(CLIPS)  # so that no two clips are the same
    picture = f"testsrc2=size={clip.size}:rate=24:duration={clip.seconds},hue=h={hue}"
    sound = f"sine=frequency={220 + 20 * number}:duration={clip.seconds}"
    return [
        *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound),
        *H264,
        *("-c:a", "aac", "-b:a", "64k", "-shortest"),
    ]


def make_long_film(ffmpeg: Path, target: Path) -> None:
    """Make ten minutes of film out of ten seconds, which an encoder takes minutes over.

    Args:
        ffmpeg: the ffmpeg that makes it.
        target: where it goes; a film that is there stays.

    Raises:
        SampleError: ffmpeg fails.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    begin, partial = (target.with_name(f".{target.stem}.{part}.mkv") for part in ("begin", "part"))
    picture = ("-f", "lavfi", "-i", "smptehdbars=size=1280x720:rate=24:duration=10")
    looped = ("-stream_loop", "59", "-i", f"file:{begin}", "-c", "copy")
    try:
        _run(ffmpeg, target, *picture, *H264, f"file:{begin}")
        _run(ffmpeg, target, *looped, f"file:{partial}")
        partial.rename(target)
    finally:
        begin.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def _run(ffmpeg: Path, target: Path, *arguments: str) -> None:
    argv = [str(ffmpeg), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SampleError(f"{target} could not be made: {reason}")
