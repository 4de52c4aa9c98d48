"""How soon what runs is to be seen: in a receiver of OTLP, and in `haas traces --running`.

    python -m benchmarks.visible [--seconds 20]

A run with one task, against a real server; each moment counts from that at which the task began, or
ended. The span of the same run, which is there when it has ended, is what a backend has without the
events: the ratio is to that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deployments.traces import running_rows
from tests.e2e.prefect_processes import PrefectProcesses
from tests.receiver import Receiver

ROOT = Path(__file__).parent.parent
SECOND = 1_000_000_000
EVERY = 0.02  # seconds between two looks
STARTED, ENDED = "background_task.started", "background_task.ended"
PROGRAM = """
import sys, time
from haas_otel import flow, task

@task(name="Encode")
def encoding(seconds):
    time.sleep(seconds)

@flow
def encodes(seconds):
    encoding(seconds)

encodes(float(sys.argv[1]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="that the task takes")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name, Receiver().start("grpc") as receiver:
        folder = Path(name)
        prefect = PrefectProcesses(folder / "home")
        environment = prefect.environment | receiver.environment
        environment |= {"HAAS_OTEL_DIR": str(folder / "otel"), "PYTHONPATH": str(ROOT)}
        argv = [sys.executable, "-c", PROGRAM, str(seconds)]
        try:
            prefect.start_server()
            process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
            seen = watch(receiver, folder / "otel", seconds)
            process.wait()
            show(receiver, seen)
            process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
            show_killed(process, folder / "otel")
        finally:
            prefect.stop()


def watch(receiver: Receiver, directory: Path, seconds: float) -> dict[str, int]:
    """Return when each was first seen, in ns, until all is or half a minute after the end."""
    seen: dict[str, int] = {}
    deadline = time.monotonic() + seconds + 60
    while len(seen) < 5 and time.monotonic() < deadline:
        found = {each.event_name for each in receiver.events}
        found |= {"span"} if receiver.spans else set()
        if running_rows(directory, None):
            found.add("running")
        elif "running" in seen:
            found.add("gone")
        for each in found:
            seen.setdefault(each, time.time_ns())
        time.sleep(EVERY)
    return seen


def show(receiver: Receiver, seen: dict[str, int]) -> None:
    (span,) = receiver.spans
    print(f"\n{'after the task began':<44}{'s':>8}{'bound':>8}{'ratio':>8}")
    whole = (seen["span"] - span.start_ns) / SECOND
    row("its span is in the receiver", whole, whole)
    row("its event is in the receiver", (seen[STARTED] - span.start_ns) / SECOND, whole, 2)
    row("haas traces --running shows it", (seen["running"] - span.start_ns) / SECOND, whole, 1)
    print(f"\n{'after the task ended':<44}{'s':>8}{'bound':>8}{'ratio':>8}")
    row("its event is in the receiver", (seen[ENDED] - span.end_ns) / SECOND, whole, 2)
    row("haas traces --running shows it no more", (seen["gone"] - span.end_ns) / SECOND, whole, 2)


def show_killed(process: subprocess.Popen[Any], directory: Path) -> None:
    while not running_rows(directory, None):
        time.sleep(EVERY)
    process.kill()
    process.wait()
    began = time.perf_counter()
    states = [row["state"] for row in running_rows(directory, None)]
    took = time.perf_counter() - began
    print(f"\n{'after the next look at one that was killed':<44}{'s':>8}{'bound':>8}")
    row(f"haas traces --running shows it as {states[0]}", took, None, 2)


def row(label: str, seconds: float, whole: float | None, bound: float | None = None) -> None:
    ratio = f"{seconds / whole:>8.3f}" if whole else ""
    print(f"{label:<44}{seconds:>8.3f}{f'{bound:g}' if bound else '':>8}{ratio}", flush=True)


if __name__ == "__main__":
    main()
