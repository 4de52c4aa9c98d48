"""A real (temporary) Prefect server, and an SDK provider whose finished spans are at hand."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from collections import defaultdict
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any
from uuid import UUID

import prefect.context
import pytest
from _pytest.monkeypatch import MonkeyPatch
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prefect import __version__ as prefect_version
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events.worker import EventsWorker
from prefect.logging.configuration import setup_logging
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect.task_engine import SyncTaskRunEngine

from haas_otel import hooks, records, server, settings, span
from haas_otel.delivery.disk import SharedDisk
from haas_otel.delivery.logs import SpanLogHandler, loggers
from haas_otel.delivery.segments import Journal
from haas_otel.ids import TaskRunIdGenerator
from tests.haas_otel.programs import MODULES, Programs, Started
from tests.haas_otel.records import is_killed, task_runs
from tests.waits import PATIENCE, wait_until
from tests.warm import Warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from prefect.client.schemas.objects import FlowRun


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that has imported what takes long, to be forked."""
    warm = Warm(*MODULES)
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def prefect_server(
    warm: Warm, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The address of a real server's API, which this process uses from now on."""
    setup_logging()  # now, for the first time it takes away the handlers that caplog has put up
    # Prefect sends the events of a process to the server that it met first: to none, if that was
    # another test's.
    EventsWorker.drain_all(timeout=10)
    home = tmp_path_factory.mktemp("server")
    # To bring a new database up to date takes longer than all else: each Prefect does it once.
    template = pytestconfig.cache.mkdir("prefect") / f"{prefect_version}.db"
    if template.exists():
        copyfile(template, home / "prefect.db")
    server = Started(
        warm,
        str(Path(__file__).with_name("server.py")),
        cwd=home,
        env={
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home}/prefect.db",
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(not template.exists()),
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
            # What else writes to the database makes requests wait for two seconds now and then.
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT__SERVER_EPHEMERAL": "1",
        },
    )
    port = int(server.stdout.readline())
    if not template.exists():
        made = template.with_suffix(f".{os.getpid()}")
        with sqlite3.connect(home / "prefect.db") as source, sqlite3.connect(made) as copy:
            source.backup(copy)
        made.rename(template)
    settings = {
        PREFECT_API_URL: f"http://127.0.0.1:{port}/api",
        PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY: False,
        # The end of a flow run waits up to a second for the thread that sends these.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings), MonkeyPatch.context() as patch:
        # Where there is no context, as in other threads, too.
        everywhere = prefect.context.SettingsContext.get()
        patch.setattr(prefect.context, "GLOBAL_SETTINGS_CONTEXT", everywhere)
        yield settings[PREFECT_API_URL]
    print(*server.communicate())
    server.close()


@pytest.fixture(autouse=True)
def _no_log_handler_left() -> Iterator[None]:
    """A test that has logs sent ends that: later ones, of anything, are not to be sent, too."""
    yield
    left = [
        (name, handler)
        for name in loggers()
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
        found = [s for s in self.spans if s.instrumentation_scope.name == settings.scope]
        return sorted(found, key=lambda s: s.start_time or 0)

    @property
    def one(self) -> ReadableSpan:
        (only,) = self.task_spans
        return only

    def of(self, flow_run: FlowRun) -> list[ReadableSpan]:
        return [s for s in self.task_spans if s.context.trace_id == flow_run.id.int]

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
    prefect_server: str, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Told]:
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    monkeypatch.setattr(
        span, "_tracer", provider.get_tracer(settings.scope, span.package_version())
    )
    monkeypatch.setattr(records, "disk", lambda: None)
    monkeypatch.setattr(server, "BOUND", PATIENCE)  # a busy machine is not what is tested
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
def interrupted_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt a task run that waits for a retry."""

    def interrupted(engine: SyncTaskRunEngine[Any, Any]) -> None:
        if engine.state.name == "AwaitingRetry":
            raise KeyboardInterrupt

    monkeypatch.setattr(SyncTaskRunEngine, "wait_until_ready", interrupted)


@pytest.fixture
def client(told: Told) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


class Killed:
    """Flow runs of ``dies.py`` whose process was killed: some at a time, each for one test."""

    AT_ONCE = 4

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._runs: dict[str, list[UUID]] = defaultdict(list)

    def take(self, flow: str, client: SyncPrefectClient) -> FlowRun:
        if not self._runs[flow]:
            self._runs[flow] = self._kill(flow, client)
        return client.read_flow_run(self._runs[flow].pop())

    def forget(self) -> None:
        """Let go of those that are left: a test is about to settle all that died."""
        self._runs.clear()

    def _kill(self, flow: str, client: SyncPrefectClient) -> list[UUID]:
        process = self._programs.start(flow, str(self.AT_ONCE))
        runs = [UUID(process.stdout.readline().strip()) for _ in range(self.AT_ONCE)]
        for run in runs:
            wait_until(lambda run=run: _in_the_middle(client, run))
        process.send_signal(signal.SIGKILL)
        process.wait()
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
def killed_runs(
    warm: Warm, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Killed]:
    folder = tmp_path_factory.mktemp("killed")
    programs = Programs(
        warm,
        Path(__file__).with_name("dies.py"),
        folder,
        PREFECT_API_URL=prefect_server,
        PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY="false",
        OTEL_TRACES_EXPORTER="none",
        HAAS_OTEL_DIR=str(folder),
    )
    yield Killed(programs, folder)
    programs.end()


@pytest.fixture
def disk(told: Told, killed_runs: Killed, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedDisk]:
    """This process is on the machine of the killed ones."""
    journal = Journal(killed_runs.folder)
    disk = SharedDisk(journal)
    monkeypatch.setattr(records, "disk", lambda: disk)
    yield disk
    journal.close()


@pytest.fixture
def kill(client: SyncPrefectClient, killed_runs: Killed) -> Callable[[str], FlowRun]:
    """Give a run of a flow of ``dies.py`` whose process was killed in the middle."""
    return lambda flow: killed_runs.take(flow, client)


@pytest.fixture
def killed_run(kill: Callable[[str], FlowRun]) -> FlowRun:
    """A flow run whose process was killed: one task run Completed, one in a nested flow Running."""
    return kill("top")
