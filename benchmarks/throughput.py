"""Runs a minute with two workers against one, and what a run costs each process, in one run.

    python -m benchmarks.throughput [--runs 12]

The services of deployments/compose/compose.yaml run as processes of this machine; each worker takes
one run at a time (HAAS_RUNS_AT_ONCE=1). A run is `add-to-library` of a movie against a local TMDb:
short, so that what Prefect costs shows. CPU seconds depend less on what else the machine does than
the clock. Needs PostgreSQL and Redis (apt-get install postgresql redis-server).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.machines import Machines, postgres_programs
from tests.fake_tmdb import Catalogue, FakeTmdb
from tests.waits import wait_until

OFF = {f"HAAS_{name}_SCHEDULE": "off" for name in ("SCAN", "CLEANUP", "REFRESH", "RECONCILE")}
SERVICES = ("server", "background", "postgres", "redis")
IDLE_SECONDS = 20.0


@dataclass(frozen=True)
class Reading:
    """Counters at one moment: the clock, CPU seconds by process, the database's counts."""

    clock: float
    cpu: dict[str, float]
    commits: int
    rows: int
    wal: int


def read(machines: Machines) -> Reading:
    cpu = {name: cpu_seconds(machines.processes[name].pid) for name in SERVICES}
    workers = [name for name in machines.processes if name.startswith("worker")]
    cpu["workers and runs"] = sum(cpu_seconds(machines.processes[name].pid) for name in workers)
    [(commits, rows)] = machines.prefect_sql(
        "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted "
        "FROM pg_stat_database WHERE datname = 'prefect'"
    )
    [(wal,)] = machines.prefect_sql("SELECT pg_current_wal_lsn() - '0/0'")
    return Reading(time.perf_counter(), cpu, commits, rows, int(wal))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of its children and of those that have ended."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def ended(machines: Machines) -> int:
    states = [run.state_name for run in machines.api.client.read_flow_runs(limit=200)]
    failed = {name for name in states if name in ("Failed", "Crashed")}
    if failed:
        sys.exit(f"Runs ended as {', '.join(sorted(failed))}: see {machines.folder}")
    return states.count("Completed")


def burst(machines: Machines, first_id: int, runs: int) -> tuple[Reading, Reading]:
    """Start runs all at once and wait for all of them; return the counters before and after."""
    deployment = machines.api.client.read_deployment_by_name("add-to-library/on-demand").id
    done = ended(machines)
    before = read(machines)
    for number in range(runs):
        movie = {"kind": "movie", "tmdb_id": first_id + number}
        machines.api.run(deployment, parameters=movie)
    wait_until(lambda: ended(machines) == done + runs, timeout=1200, interval=1)
    return before, read(machines)


def idle(machines: Machines) -> tuple[Reading, Reading]:
    before = read(machines)
    time.sleep(IDLE_SECONDS)
    return before, read(machines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    runs = parser.parse_args().runs
    if postgres_programs() is None or shutil.which("redis-server") is None:
        print("left out: needs postgresql and redis-server")  # the other benchmarks go on
        return
    folder = Path(tempfile.mkdtemp(prefix="haas-throughput-"))
    folder.chmod(0o755)
    (folder / "libraries" / "films").mkdir(parents=True)
    (folder / "libraries" / "shows").mkdir()
    with FakeTmdb(Catalogue(10_000, people=60)) as tmdb:
        told = {
            **OFF,
            "HAAS_RUNS_AT_ONCE": "1",
            "HAAS_TMDB_TOKEN": "any",
            "HAAS_TMDB_URL": tmdb.url,
        }
        machines = Machines(folder, folder / "libraries", variables=told)
        try:
            machines.start()
            machines.start_worker("worker1")
            burst(machines, 1, 1)  # compile, warm the file cache
            alone = burst(machines, 100, runs)
            machines.start_worker("worker2")
            together = burst(machines, 1000, runs)
            waiting = idle(machines)
        finally:
            machines.stop()
    shutil.rmtree(folder, ignore_errors=True)
    show(runs, alone, together, waiting)


def show(
    runs: int,
    alone: tuple[Reading, Reading],
    together: tuple[Reading, Reading],
    waiting: tuple[Reading, Reading],
) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load average {load} (1, 5, 15 minutes)\n")
    print(f"{runs} runs, one at a time for each worker{'one worker':>16}{'two workers':>14}")
    minutes = [(after.clock - before.clock) / 60 for before, after in (alone, together)]
    print(f"{'runs a minute':<41}{runs / minutes[0]:>16.1f}{runs / minutes[1]:>14.1f}")
    print(f"{'throughput of two workers against one':<57}{minutes[0] / minutes[1]:>14.2f}")
    print("\nfor each run")
    for name in alone[0].cpu:
        row(f"CPU s, {name}", runs, alone, together, lambda r, name=name: r.cpu[name])
    row("CPU s, server's part of all", runs, alone, together, lambda r: server_seconds(r))
    row("transactions of Prefect's database", runs, alone, together, lambda r: r.commits)
    row("rows written to it", runs, alone, together, lambda r: r.rows)
    row("KB of write-ahead log, both databases", runs, alone, together, lambda r: r.wal / 1000)
    before, after = waiting
    seconds = after.clock - before.clock
    print(f"\nidle, two workers: CPU s a minute{'':<24}")
    for name in before.cpu:
        print(f"{name:<41}{(after.cpu[name] - before.cpu[name]) / seconds * 60:>16.2f}")


def server_seconds(reading: Reading) -> float:
    return sum(reading.cpu[name] for name in SERVICES)


def row(label, runs, alone, together, value) -> None:
    one, two = ((value(after) - value(before)) / runs for before, after in (alone, together))
    print(f"{label:<41}{one:>16.2f}{two:>14.2f}")


if __name__ == "__main__":
    main()
