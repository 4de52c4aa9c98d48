"""A real (temporary) Prefect server, and an SDK provider whose finished spans are at hand."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events.worker import EventsWorker
from prefect.logging.configuration import setup_logging
from prefect.settings import (
    PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    get_current_settings,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from haas_otel import hooks, settling, span
from haas_otel.delivery.logs import LOGGERS, SpanLogHandler
from haas_otel.ids import TaskRunIdGenerator
from tests.e2e.prefect_processes import wait_until
from tests.haas_otel.records import is_killed, task_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from prefect.client.schemas.objects import FlowRun


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    setup_logging()  # now, for the first time it takes away the handlers that caplog has put up
    # Prefect sends the events of a process to the server that it met first: to none, if that was
    # another test's.
    EventsWorker.drain_all(timeout=10)
    settings = {
        PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
    }
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def _no_log_handler_left() -> Iterator[None]:
    """A test that has logs sent ends that: later ones, of anything, are not to be sent, too."""
    yield
    left = [
        (name, handler)
        for name in LOGGERS
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, SpanLogHandler)
    ]
    for name, handler in left:
        logging.getLogger(name).removeHandler(handler)
    assert left == [], "log handlers are taken away by the test that has put them up"


class Told:
    """The spans that were ended, by name and as a tree."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def task_spans(self) -> list[ReadableSpan]:
        found = [s for s in self.spans if s.instrumentation_scope.name == span.SCOPE]
        return sorted(found, key=lambda s: s.start_time or 0)

    @property
    def one(self) -> ReadableSpan:
        (only,) = self.task_spans
        return only

    def tree(self) -> list[str]:
        """All spans, each two spaces deeper than its parent, in order of their start."""
        ordered = sorted(self.spans, key=lambda s: s.start_time or 0)
        known = {s.context.span_id for s in ordered}

        def below(parent: int | None, depth: int) -> list[str]:
            lines: list[str] = []
            for s in ordered:
                above = s.parent.span_id if s.parent and s.parent.span_id in known else None
                if above == parent:
                    status = s.attributes.get("task.status")
                    lines.append("  " * depth + s.name + (f" {status}" if status else ""))
                    lines += below(s.context.span_id, depth + 1)
            return lines

        return below(None, 0)


@pytest.fixture(scope="session")
def provider() -> TracerProvider:
    provider = TracerProvider(id_generator=TaskRunIdGenerator())
    trace.set_tracer_provider(provider)
    return provider


@pytest.fixture
def told(
    prefect_server: None, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Told]:
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    monkeypatch.setattr(span, "_tracer", provider.get_tracer(span.SCOPE, span.package_version()))
    monkeypatch.setattr(settling, "_ledger", lambda: None)
    yield Told(exporter)
    processors = provider._active_span_processor
    processors._span_processors = tuple(
        p for p in processors._span_processors if p is not processor
    )
    left = dict(hooks.live)
    hooks.live.clear()
    assert left == {}, "the registry of live spans is empty after every run"
    assert not trace.get_current_span().get_span_context().is_valid, "no span is left attached"


@pytest.fixture
def client(told: Told) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


class Killed:
    """Flow runs of ``dies.py`` whose process was killed: some at a time, each for one test."""

    AT_ONCE = 4

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runs: dict[str, list[UUID]] = defaultdict(list)

    def take(self, flow: str, client: SyncPrefectClient) -> FlowRun:
        if not self._runs[flow]:
            self._runs[flow] = self._kill(flow, client)
        return client.read_flow_run(self._runs[flow].pop())

    def _kill(self, flow: str, client: SyncPrefectClient) -> list[UUID]:
        environment = {
            **os.environ,
            "PREFECT_API_URL": str(get_current_settings().api.url),
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
            "OTEL_TRACES_EXPORTER": "none",
            "HAAS_OTEL_DIR": str(self._directory),
        }
        dies = Path(__file__).with_name("dies.py")
        process = subprocess.Popen(
            [sys.executable, str(dies), flow, str(self.AT_ONCE)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            runs = [UUID(process.stdout.readline().decode().strip()) for _ in range(self.AT_ONCE)]
            for run in runs:
                wait_until(lambda run=run: _in_the_middle(client, run), timeout=120)
        finally:
            process.kill()
            process.communicate()
        return runs


def _in_the_middle(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """Say whether the server knows that a task run waits to be killed, here or in a nested flow."""
    # Not by way of the code under test, which may be broken.
    owners = [client.read_flow_run(flow_run_id)]
    for owner in owners:
        nested = FlowRunFilter(parent_flow_run_id={"any_": [owner.id]})
        owners += client.read_flow_runs(flow_run_filter=nested)
    return any(is_killed(run) for owner in owners for run in task_runs(client, owner))


@pytest.fixture(scope="session")
def killed_runs(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return Killed(tmp_path_factory.mktemp("killed"))


@pytest.fixture
def kill(client: SyncPrefectClient, killed_runs: Killed) -> Callable[[str], FlowRun]:
    """Give a run of a flow of ``dies.py`` whose process was killed in the middle."""
    return lambda flow: killed_runs.take(flow, client)


@pytest.fixture
def killed_run(kill: Callable[[str], FlowRun]) -> FlowRun:
    """A flow run whose process was killed: one task run Completed, one in a nested flow Running."""
    return kill("top")
