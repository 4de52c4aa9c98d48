"""What an interrupted process and an application's event loop wait for us, beside plain Prefect.

    python -m benchmarks.interrupting [--tasks 1000] [--rounds 3]

Against a real server, each process a fresh one, plain and ours in turns:

- from Ctrl-C to the end of a process, 2 s after its tasks have ended, or in a flow without any;
- the longest time for which the event loop of an application stands still, while flows and tasks
  of ours run in it, when one of them is cancelled, and when the application gets Ctrl-C: at most
  50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
WAYS = ("plain", "ours", "collector")
AT_ONCE = 10  # tasks of the application that are interrupted


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # ignored by jobs in the background
        {"exit": wait_after, "loop": application}[sys.argv[2]](int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="that have ended before")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from tests.e2e.prefect_processes import PrefectProcesses
    from tests.receiver import Receiver

    with tempfile.TemporaryDirectory() as folder, Receiver().start("grpc") as receiver:
        prefect = PrefectProcesses(Path(folder) / "home")
        try:
            prefect.start_server()
            environments = {
                way: prefect.environment
                | {"WAY": way, "HAAS_OTEL_DIR": f"{folder}/{way}", "PYTHONPATH": str(ROOT)}
                | (receiver.environment if way == "collector" else {})
                for way in WAYS
            }
            exits(environments, arguments.tasks, arguments.rounds)
            loops(environments, arguments.tasks // 5, arguments.rounds)
        finally:
            prefect.stop()


def exits(environments: dict[str, dict[str, str]], tasks: int, rounds: int) -> None:
    head("from Ctrl-C to the end, s (median)")
    for label, count in (("a flow without tasks", 0), (f"after {tasks} tasks", tasks)):
        taken = in_turns(environments, "exit", count, rounds)
        row(label, {way: [seconds for seconds, _ in each] for way, each in taken.items()})


def loops(environments: dict[str, dict[str, str]], tasks: int, rounds: int) -> None:
    head(f"the loop stands still, ms (median of the longest), {tasks} tasks before")
    taken = in_turns(environments, "loop", tasks, rounds)
    told = {way: [json.loads(text) for _, text in each] for way, each in taken.items()}
    for phase in told["plain"][0]:
        row(phase, {way: [e[phase] * 1e3 for e in each] for way, each in told.items()}, digits=0)


def in_turns(
    environments: dict[str, dict[str, str]], child: str, tasks: int, rounds: int
) -> dict[str, list[tuple[float, str]]]:
    """Return the seconds from Ctrl-C to the end of each process, and what it said."""
    taken: dict[str, list[tuple[float, str]]] = {way: [] for way in environments}
    for _ in range(rounds):
        for way, environment in environments.items():
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.interrupting", "child", child, str(tasks)],
                env=environment,
                cwd=environment["PREFECT_HOME"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                time.sleep(2)  # what goes out now and then is out
                started = time.perf_counter()
                process.send_signal(signal.SIGINT)
                process.wait(timeout=120)
                taken[way].append((time.perf_counter() - started, process.stdout.read()))
            finally:
                process.kill()
            catch_up(environment["PREFECT_API_URL"])
    return taken


def catch_up(api_url: str) -> None:
    """Wait until a server has worked off what it was sent: it lets the next process wait, else."""
    before = -1
    while (now := httpx.post(f"{api_url}/task_runs/count", json={}, timeout=60).json()) != before:
        before = now
        time.sleep(3)


def head(title: str) -> None:
    print(f"\n{title}\n{'':<36}" + "".join(f"{way:>11}" for way in WAYS) + f"{'ours later':>12}")


def row(label: str, values: dict[str, list[float]], digits: int = 2) -> None:
    medians = [statistics.median(values[way]) for way in WAYS]
    later = f"{medians[1] - medians[0]:+12.{digits}f}"
    print(f"{label:<36}" + "".join(f"{each:11.{digits}f}" for each in medians) + later, flush=True)


def decorators() -> tuple[Any, Any]:
    library = import_module("prefect" if os.environ["WAY"] == "plain" else "haas_otel")
    return library.flow, library.task


def wait_after(count: int) -> None:
    flow, task = decorators()

    @task
    def little(number: int) -> int:
        return number

    @flow
    def many() -> None:
        for number in range(count):
            little(number)
        print("ready", flush=True)
        time.sleep(900)

    many()


class Ticker:
    """Notes how long the running loop stands still at the longest, by phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.told: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self._last = time.perf_counter()
        self._tick()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.told[self.phase] = max(self.told.get(self.phase, 0.0), now - self._last)
        self._last = now
        self._loop.call_later(0.001, self._tick)


def application(count: int) -> None:
    flow, task = decorators()
    begun: list[int] = []

    @task
    async def little(number: int) -> int:
        await asyncio.sleep(0)  # else Prefect itself lets the loop have no turn between tasks
        return number

    @task
    async def waits() -> None:
        begun.append(1)
        await asyncio.sleep(900)

    @flow
    async def working(number: int, then: bool = False) -> None:
        for each in range(number):
            await little(each)
        if then:
            await asyncio.gather(*(waits() for _ in range(AT_ONCE)))

    async def in_hand() -> asyncio.Task[None]:
        begun.clear()
        found = asyncio.create_task(working(count, then=True))
        while len(begun) < AT_ONCE:
            await asyncio.sleep(0.05)
        return found

    async def serve() -> None:
        await working(3)  # what is imported and compiled at first
        ticker.append(Ticker("while tasks run"))
        cancelled = await in_hand()
        await asyncio.sleep(2)
        ticker[0].phase = "when a flow is cancelled"
        cancelled.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled
        await asyncio.sleep(1)
        ticker[0].phase = "while tasks run"
        _interrupted = await in_hand()
        print("ready", flush=True)
        await asyncio.sleep(1)
        ticker[0].phase = "at Ctrl-C"
        await asyncio.sleep(900)

    ticker: list[Ticker] = []
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
    print(json.dumps(ticker[0].told))


if __name__ == "__main__":
    main()
