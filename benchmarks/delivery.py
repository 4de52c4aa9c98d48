"""What getting spans out costs: 20,000 that wait, and a process that ends.

    python -m benchmarks.delivery

The cost of an exit is the time from the last statement to the end of the process, less that of a
process with telemetry off, median of several, against a real receiver with a fault.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from tests.receiver import Receiver

FAULTS = (None, "refuse", "silent", "hang", "503", "drop")
EXITS = 5


def main() -> None:
    if sys.argv[1:] == ["exit"]:
        make_one_span_and_exit()
        return
    backlog()
    cost_of_an_exit()


def backlog() -> None:
    """20,000 spans wait, the collector comes back: time, memory and what arrived."""
    program = (
        "import resource, time; from datetime import timedelta; from haas_otel import delivery;"
        "delivery.configure(); t = time.perf_counter();"
        "sent = delivery.deliver_pending(timedelta(seconds=60));"
        "print(sent, time.perf_counter() - t,"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    for protocol in ("grpc", "http/protobuf"):
        with tempfile.TemporaryDirectory() as folder, Receiver().start(protocol) as receiver:  # type: ignore[arg-type]
            environment = {
                **os.environ,
                **receiver.environment,
                "HAAS_OTEL_DIR": folder,
                "OTEL_METRICS_EXPORTER": "none",
            }
            receiver.set_fault("refuse")
            make = [sys.executable, "tests/haas_otel/delivery/program.py", "make", "10000"]
            subprocess.run(make, env=environment, check=True, stderr=subprocess.DEVNULL)
            receiver.set_fault(None)
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, check=True, capture_output=True
            )
            sent, seconds, memory = map(float, done.stdout.split())
            print(
                f"{protocol + ', 20,000 spans waited':36} {seconds:6.1f} s {memory:6.0f} MB"
                f" {sent:.0f} sent, {len(receiver.spans)} arrived, {len(receiver.duplicates)} twice"
            )
    print()


def cost_of_an_exit() -> None:
    print(f"{'exit, seconds more than off':36} {'median':>8} {'worst':>6} {'sent':>5}")
    for protocol in ("grpc", "http/protobuf"):
        with Receiver().start(protocol) as receiver:  # type: ignore[arg-type]
            for fault in FAULTS:
                receiver.set_fault(fault)  # type: ignore[arg-type]
                receiver.clear()
                delays = [
                    exit_time(receiver) - exit_time(receiver, OTEL_SDK_DISABLED="true")
                    for _ in range(EXITS)
                ]
                sent = f"{len(receiver.spans)}/{EXITS}"
                print(
                    f"{protocol + ', ' + (fault or 'healthy'):36} {statistics.median(delays):8.2f}"
                    f" {max(delays):6.2f} {sent:>5}",
                    flush=True,
                )


def exit_time(receiver: Receiver, **variables: str) -> float:
    """Return the seconds from the last statement of a process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **receiver.environment, "HAAS_OTEL_DIR": folder, **variables}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.delivery", "exit"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        process.wait(timeout=120)
        ended = time.time()
        assert process.stdout is not None
        last_statement = float(process.stdout.read())
    return ended - last_statement


def make_one_span_and_exit() -> None:
    from opentelemetry import trace

    from haas_otel import delivery

    delivery.configure()
    trace.get_tracer("Haas.Media.BackgroundTasks").start_span("BackgroundTask.ScanTask").end()
    print(time.time(), flush=True)


if __name__ == "__main__":
    main()
