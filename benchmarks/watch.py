"""From a file that is closed to its title in the catalog, and what a watch costs at rest.

    python -m benchmarks.watch [--files 20] [--every 15] [--burst 1000] [--library 100000]

On a real server and worker, with a watch of one library:

- one file every some seconds: how long until the catalog has it, beside a scan of the whole library
  that is asked for at the same moment by the API, without a watch;
- many files at once: how many runs they make, and how long until the last is there;
- a watch of a large library: until it is ready, and its memory and share of a core at rest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from deployments.defaults import NO_SCHEDULES
from deployments.process import wait_until
from deployments.runs import trigger
from deployments.samples import make_samples
from deployments.stack import Stack
from haas_media.catalog import open_catalog
from haas_media.encoding import find_ffmpeg

if TYPE_CHECKING:
    from deployments.process import Child

BOUND = 10.0  # seconds, at the 95th percentile
PATIENCE = 300.0


class Library:
    """A library of films, and what the catalog has of it."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.films, self.clip, self.data = folder / "films", clip, folder / "data"
        self.films.mkdir(parents=True)
        self.made = 0

    def settings(self) -> dict[str, str]:
        libraries = [{"title": "Films", "kind": "movies", "path": str(self.films)}]
        return {"HAAS_LIBRARIES": json.dumps(libraries), "HAAS_DATA_DIR": str(self.data)}

    def put(self) -> str:
        """Put a film there; return its title."""
        self.made += 1
        title = f"Film {self.made}"
        folder = self.films / f"{title} (1990)"
        folder.mkdir()
        shutil.copyfile(self.clip, folder / f"{title} (1990).mkv")
        return title

    def titles(self) -> set[str]:
        from sqlalchemy import select

        from haas_media.catalog.models import Movie

        file = self.data / "catalog.sqlite3"
        with open_catalog(f"sqlite:///{file}") as catalog, catalog.reading() as session:
            return set(session.scalars(select(Movie.title)))

    def seconds_until(self, *titles: str) -> float:
        """Wait until the catalog has these titles; return how long that took."""
        began = time.perf_counter()
        if not wait_until(lambda: self.titles().issuperset(titles), PATIENCE):
            raise SystemExit(f"After {PATIENCE:.0f} s the catalog has not got what was put there.")
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--every", type=float, default=15.0, help="seconds")
    parser.add_argument("--burst", type=int, default=1_000)
    parser.add_argument("--library", type=int, default=100_000, help="files that are watched")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        clip = next(make_samples(home / "samples", find_ffmpeg()).films.rglob("*.mkv"))
        library = Library(home / "small", clip)
        environment = {key: value for key, value in os.environ.items() if key[:5] != "HAAS_"}
        with Stack(
            library.data,
            port=0,
            environment=environment | NO_SCHEDULES,
            worker_environment=library.settings(),
        ) as stack:
            stack.start()
            latency(stack, library, given.files, given.every)
            burst(stack, library, given.burst)
            at_rest(stack, home / "large", given.library)


def latency(stack: Stack, library: Library, files: int, every: float) -> None:
    with stack.client() as client:
        first = library.put()
        trigger(client, "metadata-scan/hourly", {})
        library.seconds_until(first)
        asked = []
        for _ in range(3):
            title = library.put()
            trigger(client, "metadata-scan/hourly", {})
            asked.append(library.seconds_until(title))
            time.sleep(5)
    _watch(stack)
    seen = []
    for _ in range(files):
        seen.append(library.seconds_until(library.put()))
        time.sleep(max(0.0, every - seen[-1]))
    seen.sort()
    worst = seen[max(0, round(0.95 * len(seen)) - 1)]
    base = statistics.median(asked)
    print(f"from closed to catalog, s    {'median':>8}{'95 %':>8}{'most':>8}{'ratio':>8}")
    print(f"{'a scan asked for by the API':<29}{base:>8.1f}{'':>8}{max(asked):>8.1f}{1:>8.1f}")
    middle = statistics.median(seen)
    print(
        f"{f'a watch, {files} files':<29}{middle:>8.1f}{worst:>8.1f}{seen[-1]:>8.1f}"
        f"{middle / base:>8.1f}"
    )
    print(f"Bound for the 95th percentile: {BOUND:.0f} s.\n", flush=True)


def burst(stack: Stack, library: Library, files: int) -> None:
    before = _runs(stack)
    titles = [library.put() for _ in range(files)]
    seconds = library.seconds_until(*titles)
    print(f"{files} files at once: {_runs(stack) - before} runs, {seconds:.1f} s until the last.")
    print("Bound: 3 runs.\n", flush=True)


def _runs(stack: Stack) -> int:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    name = DeploymentFilterName(any_=["on-event"])
    with stack.client() as client:
        return len(client.read_flow_runs(deployment_filter=DeploymentFilter(name=name)))


def _watch(stack: Stack) -> Child:
    child = stack.start_watch()
    wait_until(lambda: "Watching Films" in child.log.read_text(), PATIENCE)
    return child


def at_rest(stack: Stack, folder: Path, files: int) -> None:
    assert stack.watch is not None
    stack.watch.stop(10)
    stack.watch.log.unlink()
    for number in range(files):
        place = folder / f"{number // 1000}" / f"Film {number} (1990)"
        place.mkdir(parents=True)
        (place / f"Film {number} (1990).mkv").touch()
    libraries = [{"title": "Films", "kind": "movies", "path": str(folder)}]
    stack._worker_environment["HAAS_LIBRARIES"] = json.dumps(libraries)
    began = time.perf_counter()
    child = _watch(stack)
    ready = time.perf_counter() - began
    process = psutil.Process(child.pid)
    time.sleep(30)  # what it had to say at its start is said: the worker knows no such library
    before = process.cpu_times()
    time.sleep(60)
    after = process.cpu_times()
    share = (after.user + after.system - before.user - before.system) / 60
    memory = process.memory_full_info().uss / 1e6
    print(
        f"{files} files in {files} folders: ready after {ready:.1f} s, {memory:.0f} MB (all that is"
    )
    print(f"its own), {process.memory_info().rss / 1e6:.0f} MB resident, {share:.2%} of a core.")
    print("Bounds for 100,000 files: 20 s, 150 MB, 1 %.")


if __name__ == "__main__":
    main()
