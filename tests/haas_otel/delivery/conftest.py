"""Spans to deliver, a receiver to deliver them to, and real processes that make them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prefect.settings import get_current_settings

from haas_otel.delivery.codec import SpanEncoder
from haas_otel.delivery.outbox import line_of
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

PROGRAM = Path(__file__).with_name("program.py")
FLOWS = Path(__file__).with_name("signals_program.py")
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
    encoder = SpanEncoder()

    def make(*targets: str, **attributes: object) -> str:
        return line_of(targets, encoder.encode(make_span(**attributes))).decode()

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


class Processes:
    """Start ``program.py`` in real processes that share one directory of spans."""

    def __init__(self, directory: Path, cwd: Path) -> None:
        self._directory = directory
        self._cwd = cwd
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            env={
                **os.environ,
                "HAAS_OTEL_DIR": str(self._directory),
                "PYTHONFAULTHANDLER": "1",
                **variables,
            },
            cwd=self._cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def end(self) -> None:
        """End those that a test left behind, and let them tell where they were."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)
                print(process.communicate(timeout=60)[1])


@pytest.fixture
def processes(directory: Path, tmp_path: Path) -> Iterator[Processes]:
    started = Processes(directory, tmp_path)
    yield started
    started.end()


class Runs:
    """Starts flow runs in processes of their own."""

    def __init__(self, directory: Path) -> None:
        self._variables = {
            "HAAS_OTEL_DIR": str(directory),
            "PREFECT_API_URL": str(get_current_settings().api.url),
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        }
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, *arguments: str, program: Path = FLOWS, **variables: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**os.environ, **self._variables, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, program: Path = FLOWS, **variables: str) -> str:
        process = self.start(*arguments, program=program, **variables)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return errors


@pytest.fixture
def runs(prefect_server: None, directory: Path) -> Iterator[Runs]:
    runs = Runs(directory)
    yield runs
    for process in runs.started:
        if process.poll() is None:
            process.kill()
        process.wait()
