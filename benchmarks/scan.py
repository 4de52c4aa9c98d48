"""A scan of a large library against a bare walk of the same tree, in one run.

    python -m benchmarks.scan [FILES]

Without TMDb. A rescan of unchanged files may take at most twice a
bare ``os.scandir`` walk with ``stat``, by the deployment's task on a worker as well; a first scan
of 100,000 files without TMDb at most 25 s and 500 MB, and it grows linearly. Then what used to cost
more than it should: an NFO file that is new in a folder of 60,000 films may take at most 1.5 times
a rescan, a disk of 16,000 folders that is away at most 1.2 times.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.tmdb import settings_for
from haas_media.catalog import open_catalog
from haas_media.scan import scan
from tests.e2e.api import Api
from tests.e2e.prefect_processes import PrefectProcesses

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.settings import Settings

WORDS = [
    *("amber", "brittle", "crimson", "distant", "electric", "forgotten", "gilded", "hollow"),
    *("infinite", "jagged", "kindred", "lonely", "midnight", "nameless", "obsidian", "painted"),
    *("quiet", "restless", "silver", "tangled", "unseen", "violet", "wandering"),
]
ROOT = Path(__file__).parents[1]
ROUNDS = 5
IN_ONE_FOLDER, ON_THE_DISK = 60_000, 16_000


def title(number: int) -> str:
    """Return one of many different titles."""
    first, rest = number % 23, number // 23
    return f"The {WORDS[first].title()} {WORDS[rest % 23].title()} {WORDS[rest // 23 % 23].title()}"


def make_tree(base: Path, files: int) -> None:
    """Make two libraries of empty files: a third films, the rest episodes, with sidecars."""
    films = files // 3
    for number in range(films):
        name = f"{title(number)} ({1950 + number // 12167})"
        if number % 10 < 7:
            folder = base / "films" / name
            release = f"{name}.mkv"
        else:  # as they come from the net, all in one folder
            folder = base / "films" / "New"
            release = name.replace(" ", ".").replace("(", "").replace(")", "")
            release += ".1080p.BluRay.x264-GROUP.mkv"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / release).touch()
        if number % 10 == 0:
            (folder / f"{name}.en.srt").touch()
            (folder / "poster.jpg").touch()
    for number in range(files - films):
        show, episode = divmod(number, 60)
        name = f"{title(show * 7)} {show}"
        season, place = divmod(episode, 12)
        folder = base / "shows" / name / f"Season {season + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name} - S{season + 1:02d}E{place + 1:02d}.mkv").touch()


def bare_walk(base: Path) -> int:
    """Walk as little as can be: every folder, and the size and time of every file."""
    found = 0
    stack = [str(base / "films"), str(base / "shows")]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    stack.append(entry.path)
                else:
                    entry.stat()
                    found += 1
    return found


def first_scan(base: Path) -> dict[str, float]:
    """Scan in a process of its own, for its memory; return seconds and MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scan", "--child", str(base)],
        check=True,
        capture_output=True,
        text=True,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def child(base: Path) -> None:
    """Scan once and print what it took."""
    import resource

    settings = settings_for(base)
    start = time.perf_counter()
    with open_catalog(settings.database_url) as catalog:
        report = scan(settings, catalog)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = report.counts()
    print(json.dumps({"seconds": seconds, "memory": memory, "matched": counts["matched"]}))


def rescan_ratio(settings: Settings) -> tuple[float, float]:
    """Return the best times of a bare walk and of a rescan, taken in turns."""
    walks, scans = [], []
    with open_catalog(settings.database_url) as catalog:
        for _ in range(ROUNDS):
            gc.collect()
            start = time.perf_counter()
            bare_walk(settings.data_dir.parent)
            walks.append(time.perf_counter() - start)
            start = time.perf_counter()
            report = scan(settings, catalog)
            scans.append(time.perf_counter() - start)
            counts = report.counts()
            assert counts["parsed"] == counts["new"] == 0, counts
    return min(walks), min(scans)


def rescan_by_worker(settings: Settings) -> tuple[float, float]:
    """Return the best times of a bare walk and of the deployment's task, taken in turns.

    The task is timed as Prefect does, from its start to its end on a worker, with all that it does.
    """
    walks, tasks = [], []
    environment = {
        "HAAS_LIBRARIES": json.dumps([each.model_dump(mode="json") for each in settings.libraries]),
        "HAAS_DATA_DIR": str(settings.data_dir),
        "HAAS_SCAN_PROBE": "false",
    }
    prefect = PrefectProcesses(settings.data_dir / "prefect")
    try:
        prefect.start_server()
        api = Api(prefect.api_url)
        api.make_pool("haas-media")
        scan_it = api.deploy(ROOT, "flows/metadata_scan.py:metadata_scan_flow", "haas-media")
        prefect.start_our_worker("worker", "haas-media", environment=environment)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            bare_walk(settings.data_dir.parent)
            walks.append(time.perf_counter() - start)
            run = api.wait_for_end(api.run(scan_it))
            assert run.state_name == "Completed", prefect.log("worker")
            [task] = api.task_runs(run.id)
            tasks.append(task.total_run_time.total_seconds())
    finally:
        prefect.stop()
    return min(walks), min(tasks)


def measure(files: int) -> list[str]:
    """Measure one size; return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_tree(base, files)
        first = first_scan(base)
        walk, again = rescan_ratio(settings_for(base))
        bare, task = rescan_by_worker(settings_for(base))
    return [
        f"{files:,}",
        f"{first['seconds']:.1f} s",
        f"{first['seconds'] / files * 1e6:.0f} µs",
        f"{first['memory']:.0f} MB",
        f"{walk:.3f} s",
        f"{again:.3f} s",
        f"{again / walk:.2f}",
        f"{task:.3f} s",
        f"{task / bare:.2f}",
        f"{again - walk:.3f} s",
        f"{task - again:.3f} s",
    ]


def measure_new_nfo(films: int) -> list[str]:
    """Rescan one folder of films, and again with an NFO file that is new; return a row."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for kind in ("films", "shows"):
            (base / kind).mkdir()
        names = [f"{title(number)} ({1950 + number // 12167})" for number in range(films)]
        for name in names:
            (base / "films" / f"{name}.mkv").touch()
        settings = settings_for(base)
        with open_catalog(settings.database_url) as catalog:
            scan(settings, catalog)
            rescan = min(timed_scan(settings, catalog, parsed=0) for _ in range(ROUNDS))
            again = []
            for name in names[:ROUNDS]:
                nfo = "<movie><title>Heat</title></movie>"
                (base / "films" / f"{name}.nfo").write_text(nfo)
                again.append(timed_scan(settings, catalog, parsed=1))
    return row("a new NFO file in a folder of", films, rescan, min(again), 1.5)


def measure_offline_disk(folders: int) -> list[str]:
    """Rescan a disk below the root, and again when it is away; return a row."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for kind in ("films/disk", "shows"):
            (base / kind).mkdir(parents=True)
        disk = str(base / "films" / "disk")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=0", "tmpfs", disk], check=True)
        (base / "films" / "Heat (1995).mkv").touch()
        settings = settings_for(base)
        try:
            for number in range(folders):
                film = base / "films" / "disk" / f"{title(number)} ({1950 + number // 12167})"
                film.mkdir()
                (film / "film.mkv").touch()
            with open_catalog(settings.database_url) as catalog:
                scan(settings, catalog)
                rescan = min(timed_scan(settings, catalog, parsed=0) for _ in range(ROUNDS))
        finally:
            subprocess.run(["umount", disk], check=True)
        with open_catalog(settings.database_url) as catalog:
            away = min(timed_scan(settings, catalog, parsed=0) for _ in range(ROUNDS))
            assert scan(settings, catalog).counts()["matched"] == folders + 1
    return row("an offline disk, folders:", folders, rescan, away, 1.2)


def timed_scan(settings: Settings, catalog: Catalog, parsed: int) -> float:
    """Return the seconds that a scan takes which has to parse so many names."""
    gc.collect()
    start = time.perf_counter()
    report = scan(settings, catalog)
    seconds = time.perf_counter() - start
    assert report.counts()["parsed"] == parsed
    assert report.counts()["removed"] == 0
    return seconds


def row(what: str, size: int, rescan: float, measured: float, bound: float) -> list[str]:
    """Return a row of the last table."""
    ratio = f"{measured / rescan:.2f}"
    return [f"{what} {size:,}", f"{rescan:.3f} s", f"{measured:.3f} s", ratio, f"{bound}"]


def main() -> None:
    """Print a table of sizes up to the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="?", type=int, default=100_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    table = Table(title="Scan without TMDb, without probing; the task on a worker, what it adds")
    for head in (
        *("files", "first scan", "per file", "memory", "bare walk", "rescan", "ratio"),
        *("task", "ratio", "of it: catalog", "imports, artifacts, logs"),
    ):
        table.add_column(head, justify="right")
    for files in sorted({max(options.files // 10, 100), options.files}):
        table.add_row(*measure(files))
    Console(width=140).print(table)
    print("Bounds for 100,000 files: first scan 25 s and 500 MB, ratio at most 2.")
    table = Table(title="What differs from a rescan by one thing")
    for head in ("", "rescan", "with it", "ratio", "at most"):
        table.add_column(head, justify="right" if head else "left")
    share = options.files / 100_000
    table.add_row(*measure_new_nfo(int(IN_ONE_FOLDER * share)))
    try:
        table.add_row(*measure_offline_disk(int(ON_THE_DISK * share)))
    except subprocess.CalledProcessError:
        print("No disk can be mounted here, so that of an offline disk is not measured.")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
