"""A process in which task runs end: finished_runs.py '[["EncodingTask", "Failed", 400], ...]'."""

from __future__ import annotations

import json
import sys
import time

from opentelemetry import trace

from haas_otel import delivery


def main() -> None:
    delivery.configure()
    tracer = trace.get_tracer("Haas.Media.BackgroundTasks", "0.1.0")
    for kind, status, seconds in json.loads(sys.argv[1]):
        end = time.time_ns()
        told = {"task.type": kind, "task.status": status}
        span = tracer.start_span(
            f"BackgroundTask.{kind}", attributes=told, start_time=end - int(seconds * 1e9)
        )
        span.end(end)
    trace.get_tracer_provider().force_flush(60_000)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
