"""Spans to deliver, a receiver to deliver them to, and real processes that make them."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from haas_otel.delivery.codec import encode
from tests.haas_otel.programs import Programs
from tests.parts import require
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.warm import Warm

HERE = Path(__file__).parent
SCOPE = "Haas.Media.BackgroundTasks"


@pytest.fixture(autouse=True)
def _no_telemetry_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine that runs the tests has set is not what is tested."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "HAAS_OTEL")):
            monkeypatch.delenv(name)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where spans are kept; not made yet, as on a new machine."""
    return tmp_path / "otel"


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, directory: Path) -> Iterator[None]:
    """Have spans be kept on a file system of so many KiB."""
    directory.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    require("a small disk", made.returncode == 0, "run as root, who may mount a tmpfs")
    yield
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture(params=["grpc", "http/protobuf"])
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with Receiver().start(request.param) as started:
        yield started


@pytest.fixture
def make_span() -> Callable[..., ReadableSpan]:
    """Make a finished task span; what is given replaces or adds attributes."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer(SCOPE, "0.1.0")
    number = iter(range(1_000_000))

    def make(name: str = "BackgroundTask.MetadataScanTask", **attributes: object) -> ReadableSpan:
        kept.clear()
        told = {
            "task.id": f"01932b4e-7890-7abc-def0-{next(number):012x}",
            "task.type": "MetadataScanTask",
            "task.name": "Metadata library scan",
            "task.status": "Completed",
            "task.duration_ms": 1.5,
        }
        told |= {key.replace("_", ".", 1): value for key, value in attributes.items()}
        span = tracer.start_span(name, attributes=told)  # type: ignore[arg-type]
        span.add_event("task.started")
        span.end()
        (made,) = kept.get_finished_spans()
        return made

    return make


@pytest.fixture
def make_line(make_span: Callable[..., ReadableSpan]) -> Callable[..., str]:
    """Make a journal's line for a new span."""

    def make(*targets: str, **attributes: object) -> str:
        return f"{','.join(targets)}\t{encode(make_span(**attributes)).decode()}"

    return make


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what has been logged as a warning or worse by the delivery itself."""
    caplog.set_level(logging.WARNING)

    def told() -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("haas_otel") and record.levelno >= logging.WARNING
        ]

    return told


@pytest.fixture
def processes(warm: Warm, directory: Path, tmp_path: Path) -> Iterator[Programs]:
    """Start ``program.py`` in processes that share one directory of spans."""
    programs = Programs(warm, HERE / "program.py", tmp_path, HAAS_OTEL_DIR=str(directory))
    yield programs
    programs.end()


@pytest.fixture
def runs(warm: Warm, prefect_server: str, directory: Path, tmp_path: Path) -> Iterator[Programs]:
    """Start flow runs of ``signals_program.py`` in processes that share one directory of spans."""
    programs = Programs(
        warm,
        HERE / "signals_program.py",
        tmp_path,
        HAAS_OTEL_DIR=str(directory),
        PREFECT_API_URL=prefect_server,
        PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY="false",
        OTEL_BLRP_SCHEDULE_DELAY="50",
    )
    yield programs
    programs.end()
