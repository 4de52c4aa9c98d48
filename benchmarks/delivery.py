"""What getting spans out costs: for a span that ends, and for a process that ends.

    python -m benchmarks.delivery            our delivery
    python -m benchmarks.delivery --stock    the SDK's batch processor too (some minutes)

The cost of a span is the time of the thread that ends it, in one process, the ways taken in turns.
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
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = (None, "refuse", "silent", "hang", "503", "drop")
ROUNDS, SPANS_A_ROUND = 30, 200
EXITS = 5


def main() -> None:
    if sys.argv[1:2] == ["exit"]:
        make_one_span_and_exit(sys.argv[2])
        return
    cost_of_a_span()
    backlog()
    cost_of_an_exit("stock" if "--stock" in sys.argv else None)


def cost_of_a_span() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from haas_otel.delivery.exporters import Target
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.otlp import Exporter
    from haas_otel.delivery.processor import DurableSpanProcessor
    from haas_otel.delivery.segments import Journal

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - the interface
            return SpanExportResult.SUCCESS

    with tempfile.TemporaryDirectory() as folder:
        # Only what the caller's thread pays: the background rounds are kept out of the way.
        limits = Limits(delay=timedelta(hours=1))
        stored = DurableSpanProcessor(Journal(Path(folder) / "stored"), (), limits)
        target = Target("nowhere", lambda: Exporter(Nowhere(), "TRACES"))
        sent = DurableSpanProcessor(Journal(Path(folder) / "sent"), (target,), limits)
        batch = BatchSpanProcessor(
            Nowhere(), max_queue_size=100_000, schedule_delay_millis=3_600_000
        )
        ways: dict[str, Callable[[], None]] = {}
        for name, processor in (
            ("bare SDK span, no processor", None),
            ("SDK's batch processor (memory)", batch),
            ("ours, stored (disk)", stored),
            ("ours, to be sent (disk)", sent),
        ):
            provider = TracerProvider(shutdown_on_exit=False)
            if processor is not None:
                provider.add_span_processor(processor)
            ways[name] = span_maker(provider.get_tracer("Haas.Media.BackgroundTasks", "0"))
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, make in ways.items():
                start = time.perf_counter()
                for _ in range(SPANS_A_ROUND):
                    make()
                costs[name].append((time.perf_counter() - start) / SPANS_A_ROUND * 1e6)
        for processor in (batch, stored, sent):
            processor.shutdown()
    bare = statistics.median(costs["bare SDK span, no processor"])
    print(f"{'a task span, start to end':36} {'µs':>8} {'ratio':>7} {'added µs':>9}")
    for name, each in costs.items():
        cost = statistics.median(each)
        print(f"{name:36} {cost:8.1f} {cost / bare:7.2f} {cost - bare:9.1f}")
    print()


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


def span_maker(tracer: Any) -> Callable[[], None]:
    def make() -> None:
        span = tracer.start_span(
            "BackgroundTask.MetadataScanTask",
            attributes={
                "task.id": "01932b4e-7890-7abc-def0-123456789abc",
                "task.type": "MetadataScanTask",
                "task.name": "Metadata library scan",
            },
        )
        span.add_event("task.started")
        span.set_attribute("task.status", "Completed")
        span.set_attribute("task.duration_ms", 12.5)
        span.add_event("task.completed")
        span.end()

    return make


def cost_of_an_exit(stock: str | None) -> None:
    ways = ["ours", *([stock] if stock else [])]
    print(
        f"{'exit, seconds more than off':36}",
        *(f"{way:>8} {'worst':>6} {'sent':>5}" for way in ways),
    )
    for protocol in ("grpc", "http/protobuf"):
        with Receiver().start(protocol) as receiver:  # type: ignore[arg-type]
            for fault in FAULTS:
                receiver.set_fault(fault)  # type: ignore[arg-type]
                cells = [exit_cells(way, receiver) for way in ways]
                print(f"{protocol + ', ' + (fault or 'healthy'):36}", *cells, flush=True)


def exit_cells(way: str, receiver: Receiver) -> str:
    receiver.clear()
    repeats = EXITS if way == "ours" else 1
    delays = []
    for _ in range(repeats):
        off = exit_time("off", receiver)
        delays.append(exit_time(way, receiver) - off)
    sent = f"{len(receiver.spans)}/{repeats}"
    return f"{statistics.median(delays):8.2f} {max(delays):6.2f} {sent:>5}"


def exit_time(way: str, receiver: Receiver) -> float:
    """Return the seconds from the last statement of a process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **receiver.environment, "HAAS_OTEL_DIR": folder}
        if way == "off":
            environment["OTEL_SDK_DISABLED"] = "true"
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.delivery", "exit", way],
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


def make_one_span_and_exit(way: str) -> None:
    from opentelemetry import trace

    from haas_otel import delivery

    if way == "stock":
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator

        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
        _OTelSDKConfigurator().configure()  # type: ignore[no-untyped-call]
    else:
        delivery.configure()
    span_maker(trace.get_tracer("Haas.Media.BackgroundTasks", "0"))()
    print(time.time(), flush=True)


if __name__ == "__main__":
    main()
