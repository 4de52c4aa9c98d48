"""What a task span costs: a bare SDK span, Prefect's own span of a task run, and ours.

    python -m benchmarks.spans [--spans 2000] [--runs 300]

Three tables, each in one run and with the ways of doing it interleaved:

- time of a span from start to end, without and with writing it down;
- memory while it is active;
- a whole Prefect task run with and without our decorators, against a real temporary server.

"SDK span" has the same name, attributes, events and status, made by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import gc
import logging
import os
import statistics
import tempfile
import time
import tracemalloc
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ["PREFECT_UI_URL"] = "http://127.0.0.1:4200"
os.environ["PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"] = "false"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=2000, help="spans of each kind")
    parser.add_argument("--runs", type=int, default=300, help="task runs of each kind")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HAAS_OTEL_DIR"] = folder
        # The flow run that the first two make up must not be taken for that of real task runs.
        made_up = contextvars.copy_context()
        made_up.run(_time_of_spans, arguments.spans)
        made_up.run(_memory_of_spans, arguments.spans)
        _task_runs(arguments.runs)


def _provider() -> TracerProvider:
    from opentelemetry.sdk.trace import TracerProvider

    from haas_otel.ids import TaskRunIdGenerator

    return TracerProvider(id_generator=TaskRunIdGenerator())


def _time_of_spans(count: int) -> None:
    ways = _ways()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(count):
        for name, way in ways.items():
            next(way)  # what Prefect, or the caller, has at hand anyway
            started = time.perf_counter()
            span = next(way)
            next(way)
            elapsed = time.perf_counter() - started
            if round_ > count // 10:
                times[name].append(elapsed)
            del span
    base = statistics.median(next(iter(times.values())))
    _head("a span, from start to end", "us")
    for name, each in times.items():
        _row(name, statistics.median(each) * 1e6, statistics.median(each) / base)
    dropped, written = (statistics.median(each) for each in list(times.values())[-2:])
    _parts_of_ours(count, base, written - dropped)


def _parts_of_ours(count: int, base: float, added: float) -> None:
    """Show where the time goes that is ``added`` to a span by writing it, each part in its turn."""
    from haas_otel import records
    from haas_otel.delivery import processor
    from haas_otel.delivery.disk import SharedDisk
    from haas_otel.delivery.segments import Journal

    parts = {
        "  start record, gathered": (records, "of_task"),
        "  start record, as JSON and written": (SharedDisk, "begin"),
        "    of that, the write": (Journal, "start"),
        "  span, as JSON and written": (processor.DurableSpanProcessor, "on_end"),
        "    of that, the write, with the end": (Journal, "append"),
        "    of that, the JSON": (processor, "encode"),
    }
    times: dict[str, list[float]] = {label: [] for label in parts}
    way = list(_ways().values())[-1]
    with contextlib.ExitStack() as patches:
        for label, (owner, name) in parts.items():
            watched = _watched(getattr(owner, name), times[label])
            patches.enter_context(mock.patch.object(owner, name, watched))
        for _ in range(3 * count):
            next(way)
    for label, each in times.items():
        _row(label, statistics.median(each) * 1e6, statistics.median(each) / base)
        if not label.startswith("    "):
            added -= statistics.median(each)
    _row("  the rest: the SDK's copy, and what waits", added * 1e6, added / base)


def _watched(work: Any, times: list[float]) -> Any:
    def watched(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*arguments, **named)
        finally:
            times.append(time.perf_counter() - started)

    return watched


def _ways() -> dict[str, Iterator[Any]]:
    from pathlib import Path

    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    from haas_otel import settings
    from haas_otel.delivery.disk import SharedDisk
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.processor import DurableSpanProcessor
    from haas_otel.delivery.segments import Journal

    plain, to_file, durable = _provider(), _provider(), _provider()
    directory = Path(os.environ["HAAS_OTEL_DIR"])
    file = (directory / "spans").open("a", buffering=1)
    exporter = ConsoleSpanExporter(
        out=file, formatter=lambda each: each.to_json(indent=None) + "\n"
    )
    to_file.add_span_processor(SimpleSpanProcessor(exporter))
    journal = Journal(directory)
    disk = SharedDisk(journal)
    durable.add_span_processor(DurableSpanProcessor(journal, (), Limits()))
    return {
        "SDK span, dropped": _bare(plain),
        "SDK span, SimpleSpanProcessor to a file": _bare(to_file),
        "Prefect's own span of a task run": _prefects(plain),
        "ours, dropped": _ours(plain.get_tracer(settings.scope)),
        "ours, start and end record on disk": _ours(durable.get_tracer(settings.scope), disk),
    }


def _bare(provider: TracerProvider) -> Iterator[Any]:
    """Prepare, start a span and yield it, end it; again and again. So do the others."""
    from opentelemetry.trace import SpanKind, Status, StatusCode

    tracer = provider.get_tracer("bare")
    while True:
        task_id, flow_id = str(uuid4()), str(uuid4())
        yield None
        started = time.time_ns()
        span = tracer.start_span(
            "BackgroundTask.MetadataScanTask",
            kind=SpanKind.INTERNAL,
            start_time=started,
            attributes={
                "task.id": task_id,
                "task.type": "MetadataScanTask",
                "task.name": "Metadata library scan",
                "prefect.flow_run.id": flow_id,
                "prefect.flow_run.name": "scan of Films",
                "prefect.flow_run.url": f"http://127.0.0.1:4200/v2/runs/flow-run/{flow_id}",
                "prefect.attempt": 1,
            },
        )
        span.add_event("task.started", timestamp=started)
        yield span
        ended = time.time_ns()
        span.set_attribute("task.status", "Completed")
        span.set_attribute("task.duration_ms", (ended - started) / 1e6)
        span.set_attribute("prefect.ended_by", "self")
        span.set_status(Status(StatusCode.OK))
        span.add_event("task.completed", timestamp=ended)
        span.end(ended)
        yield None


def _prefects(provider: TracerProvider) -> Iterator[Any]:
    from prefect.states import Completed, Running
    from prefect.telemetry.run_telemetry import RunTelemetry

    while True:
        task_run, _ = _records()
        telemetry = RunTelemetry(_tracer=provider.get_tracer("prefect"), _enabled=True)
        running, completed = Running(), Completed()
        yield None
        started = telemetry.start_span(task_run, None, {"library": "Films"})  # type: ignore[arg-type]
        telemetry.update_state(running)
        yield started
        telemetry.update_state(completed)
        telemetry.end_span_on_success()
        yield None


def _ours(tracer: Any, disk: Any = None) -> Iterator[Any]:
    from prefect.states import Completed, Running

    from haas_otel import hooks, records, span

    while True:
        task_run, flow_run = _records()
        running, completed = Running(), Completed()
        # What a process sets once: that is no part of a span.
        span._tracer = tracer
        records.disk = lambda: disk
        yield None
        span.introduce(
            task_run, flow_run, task_type="MetadataScanTask", task_name="Metadata library scan"
        )
        hooks.haas_otel_on_running(None, task_run, running)  # type: ignore[arg-type]
        yield hooks.live[task_run.id].span
        hooks.haas_otel_on_end(None, task_run, completed)  # type: ignore[arg-type]
        yield None


_templates: list[Any] = []


def _records() -> tuple[Any, Any]:
    """Return a task run and its flow run, as the engine has them at hand."""
    from prefect.client.schemas.objects import FlowRun, TaskRun
    from prefect.context import FlowRunContext
    from prefect.types._datetime import now

    from haas_otel import hooks

    if not _templates:
        flow_run = FlowRun(flow_id=uuid4(), name="scan of Films", run_count=1)
        _templates.extend(
            [
                TaskRun(task_key="scan", dynamic_key="0", flow_run_id=flow_run.id, name="scan-0"),
                flow_run,
            ]
        )
        # Where the engine has it, and the hooks look for it.
        FlowRunContext.__var__.set(FlowRunContext.model_construct(flow_run=flow_run))
        # ... and where our hook has left it.
        hooks._begun[flow_run.id] = flow_run.id, os.getpid()
    task_run = _templates[0].model_copy(
        update={"id": uuid4(), "labels": {}, "start_time": now("UTC")}
    )
    return task_run, _templates[1]


def _memory_of_spans(count: int) -> None:
    _head("memory of an active span", "bytes")
    base = 0.0
    for label, index in (("SDK span", 0), ("ours", 2)):
        used = _memory(index, count)
        base = base or used
        _row(label, used, used / base, f"{used - base:+.0f} bytes")


def _memory(index: int, count: int) -> float:
    from haas_otel import hooks

    provider, tracer = _provider(), None
    if index == 2:
        tracer = provider.get_tracer("ours")
    ways = [_ours(tracer) if tracer else _bare(provider) for _ in range(count)]
    for way in ways:
        next(way)
    hooks.live.clear()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = [next(way) for way in ways]
    gc.collect()
    used = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    del held
    hooks.live.clear()
    return used


def _task_runs(count: int) -> None:
    import prefect
    from prefect.testing.utilities import prefect_test_harness

    import haas_otel

    def body(number: int) -> int:
        return number

    plain = prefect.task(name="plain")(body)
    traced = haas_otel.task(name="traced")(body)

    @prefect.flow
    def all_of_them() -> dict[str, list[float]]:
        times: dict[str, list[float]] = {"plain": [], "traced": []}
        for number in range(count + 20):
            for name, run in (("plain", plain), ("traced", traced)):
                started = time.perf_counter()
                run(number)
                if number >= 20:
                    times[name].append(time.perf_counter() - started)
        return times

    with prefect_test_harness(server_startup_timeout=120):
        times = all_of_them()
    base = statistics.median(times["plain"])
    spread = statistics.quantiles(times["plain"], n=4)
    _head("a Prefect task run", "us")
    _row(
        "without our spans",
        base * 1e6,
        1,
        f"quartiles {spread[0] * 1e6:.0f} to {spread[2] * 1e6:.0f}",
    )
    traced_time = statistics.median(times["traced"])
    _row("with our spans, written to disk", traced_time * 1e6, traced_time / base)


def _head(title: str, unit: str) -> None:
    print(f"\n{title:<42}{unit:>10}{'ratio':>8}")


def _row(label: str, value: float, ratio: float, note: str = "") -> None:
    print(f"{label:<42}{value:>10.1f}{ratio:>8.2f}  {note}".rstrip())


if __name__ == "__main__":
    main()
