"""A first scan against a local TMDb: the rate kept and never exceeded, what each title costs.

    python -m benchmarks.tmdb [--films 150] [--shows 20] [--rate 20]

The local TMDb runs in a process of its own, answers after 50 ms, and writes down when each request
arrived. The ratio is that of the rate kept to the rate allowed, from the first request to the last.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import tempfile
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from haas_media.catalog import open_catalog
from haas_media.providers.tmdb import TmdbClient
from haas_media.scan import ScanReport, scan
from haas_media.settings import Library, ScanSettings, Settings
from tests.fake_tmdb import Catalogue, FakeTmdb, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

PEOPLE = 60
LATENCY = 0.05
KINDS = {
    "film: search": r"/3/search/movie",
    "film: details": r"/3/movie/\d+",
    "show: search": r"/3/search/tv",
    "show: details": r"/3/tv/\d+",
    "season": r"/3/tv/\d+/season/\d+",
    "person": r"/3/person/\d+",
}


@dataclass(frozen=True, slots=True)
class Served:
    """What the local TMDb saw."""

    requests: list[Seen]

    @property
    def rate(self) -> float:
        """Requests a second."""
        times = [seen.at for seen in self.requests]
        return (len(times) - 1) / (max(times) - min(times))

    @property
    def busiest_second(self) -> int:
        """The most requests that arrived in any second."""
        times = sorted(seen.at for seen in self.requests)
        return max(bisect_left(times, start + 1.0) - at for at, start in enumerate(times))


def catalogue(films: int, shows: int) -> Catalogue:
    """Return titles whose cast is drawn from few people, so that titles are most of the work."""
    return Catalogue(films, shows, PEOPLE)


def _serve(films: int, shows: int, latency: float, pipe: Connection) -> None:
    # It is the clock that is read, so it goes before other work where that is allowed.
    with contextlib.suppress(OSError):
        os.nice(-10)
    with FakeTmdb(catalogue(films, shows), latency=latency) as tmdb:
        pipe.send(tmdb.url)
        pipe.recv()
        pipe.send(tmdb.requests)


@contextlib.contextmanager
def local_tmdb(
    films: int, shows: int, latency: float = LATENCY
) -> Iterator[tuple[str, Connection]]:
    """Run a local TMDb in another process; yield its address, and a pipe to end it by."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(films, shows, latency, there), daemon=True)
    process.start()
    there.close()  # else nobody here would hear that the process has died
    try:
        yield here.recv(), here
    finally:
        process.join(10)


def make_files(root: Path, titles: Catalogue) -> None:
    """Write an empty file for each movie and each episode of a catalogue."""
    for number in range(1, titles.sizes["movie"] + 1):
        name = f"{titles.title('movie', number)} ({titles.year(number)})"
        (root / "films" / name).mkdir(parents=True)
        (root / "films" / name / f"{name}.mkv").touch()
    for number in range(1, titles.sizes["tv"] + 1):
        show = titles.read("tv", number) or {}
        for season in (stub["season_number"] for stub in show["seasons"]):
            folder = root / "shows" / f"{show['name']} ({titles.year(number)})" / f"S{season:02d}"
            folder.mkdir(parents=True)
            for episode in (titles.season(number, season) or {})["episodes"]:
                name = f"{show['name']} S{season:02d}E{episode['episode_number']:02d}.mkv"
                (folder / name).touch()


def settings_for(base: Path) -> Settings:
    """Return settings for the libraries in a folder; probing is another benchmark's."""
    return Settings(
        libraries=(
            Library(title="Films", kind="movies", path=base / "films"),
            Library(title="Shows", kind="tv", path=base / "shows"),
        ),
        data_dir=base / "data",
        scan=ScanSettings(probe=False),
    )


def run(films: int, shows: int, rate: float) -> tuple[ScanReport, Served]:
    """Scan libraries of that size; return the scan's report and what TMDb saw."""
    with tempfile.TemporaryDirectory() as folder, local_tmdb(films, shows) as (url, pipe):
        root = Path(folder)
        make_files(root, catalogue(films, shows))
        settings = settings_for(root)
        with (
            TmdbClient("token", url, requests_per_second=rate) as client,
            open_catalog(settings.database_url) as catalog,
        ):
            report = scan(settings, catalog, provider=client)
        pipe.send("enough")
        return report, Served(pipe.recv())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=150)
    parser.add_argument("--shows", type=int, default=20)
    parser.add_argument("--rate", type=float, default=20.0)
    options = parser.parse_args()
    report, served = run(options.films, options.shows, options.rate)
    counts = Counter(
        kind
        for seen in served.requests
        for kind, path in KINDS.items()
        if re.fullmatch(path, seen.path)
    )
    files = report.total("found")
    print(f"{files} files, {report.total('matched')} matched, {report.total('pending')} pending\n")
    print(f"{'requests':<16}{'all':>8}{'per title':>12}")
    seasons = len({seen.path for seen in served.requests if "/season/" in seen.path})
    titles = {"film": options.films, "show": options.shows, "seas": seasons}
    for kind in KINDS:
        each = counts[kind] / titles.get(kind[:4], PEOPLE)
        print(f"{kind:<16}{counts[kind]:>8}{each:>12.2f}")
    print(f"{'all':<16}{len(served.requests):>8}\n")
    print(f"{'rate allowed':<26}{options.rate:>8.2f} a second")
    print(f"{'rate kept':<26}{served.rate:>8.2f} a second")
    print(f"{'ratio':<26}{served.rate / options.rate:>8.3f} (at least 0.95)")
    print(f"{'most in any second':<26}{served.busiest_second:>8} (at most {options.rate:g})")


if __name__ == "__main__":
    main()
