"""How long a flow run's process takes to be ready: with our imports, against a bare Prefect flow.

    python -m benchmarks.startup [--rounds 10]

Each round starts two fresh processes, one after the other, that load a flow as Prefect's engine
does; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOAD = "import sys; from prefect.flows import load_flow_from_entrypoint as load; load(sys.argv[1])"
BARE = """
from prefect import flow, task

@task
def scan(library: str | None = None): ...

@flow
def bare(library: str | None = None):
    scan(library)
"""


def seconds_to_load(entrypoint: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", LOAD, entrypoint], cwd=ROOT, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        flows = {"bare Prefect flow": f"{bare}:bare"}
        for module in sorted((ROOT / "flows").glob("*.py")):
            text = module.read_text()
            if f"def {module.stem}_flow(" in text:
                flows[f"flows/{module.name}"] = f"flows/{module.name}:{module.stem}_flow"
        times: dict[str, list[float]] = {name: [] for name in flows}
        for entrypoint in flows.values():  # compile, warm the file cache
            seconds_to_load(entrypoint)
        for _ in range(rounds):
            for name, entrypoint in flows.items():
                times[name].append(seconds_to_load(entrypoint))
    base = statistics.median(times["bare Prefect flow"])
    print(f"{'process start to loaded flow':<34}{'median s':>10}{'ratio':>8}")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:<34}{median:>10.3f}{median / base:>8.2f}")


if __name__ == "__main__":
    main()
