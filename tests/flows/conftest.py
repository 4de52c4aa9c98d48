"""Flows run as their users run them: a process of their own, against a real server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from deployments.runs import artifacts
from haas_otel.delivery.store import TraceStore
from tests.databases import new_postgres as new_postgres
from tests.databases import postgres as postgres
from tests.e2e.api import Api
from tests.e2e.conftest import prefect as prefect
from tests.warm import warm

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.objects import Artifact, FlowRun

    from haas_otel.delivery.store import StoredSpan
    from tests.e2e.prefect_processes import PrefectProcesses

TRACES = "http://traces.example/t/{trace_id}?from={trace_id}"
SCRIPT = """
import importlib, json, sys
from flows import retrying
retrying.RETRY_DELAYS[:] = [0, 0]
module, name, parameters = json.loads(sys.argv[1])
flow = getattr(importlib.import_module(module), name)
state = flow(**parameters, return_state=True)
print("FLOW_RUN", state.state_details.flow_run_id)
"""


@pytest.fixture(scope="package")
def server(prefect: PrefectProcesses) -> Api:
    from prefect.logging.configuration import setup_logging

    setup_logging()  # now, for the first time it takes away the handlers that caplog has put up
    return Api(prefect.api_url)


@dataclass(frozen=True)
class Ran:
    """What a flow left: its run, its artifacts, its spans, what it printed."""

    run: FlowRun
    artifacts: dict[str, Artifact]
    spans: list[StoredSpan]
    output: str

    @property
    def task(self) -> StoredSpan:
        [span] = [span for span in self.spans if span.is_task]
        return span


@dataclass(frozen=True)
class Flows:
    """Runs flows with these variables."""

    server: Api
    environment: dict[str, str]
    telemetry: Path

    def __call__(self, module: str, **parameters: Any) -> Ran:
        """Run a flow; whatever came of it, a task that has a span has a link to its trace."""
        what = json.dumps([f"flows.{module}", f"{module}_flow", parameters])
        cwd = self.telemetry.parent
        done = warm().run("-c", SCRIPT, what, env=self.environment, cwd=cwd)
        output = done.stdout + done.stderr
        assert "FLOW_RUN" in done.stdout, output
        run = self.server.flow_run(UUID(done.stdout.rpartition("FLOW_RUN ")[2].strip()))
        found = {str(each.key): each for each in artifacts(self.server.client, run.id)}
        spans = [
            span
            for task in TraceStore(self.telemetry).tasks(limit=1000)
            if task.attributes.get("prefect.flow_run.id") == str(run.id)
            for span in TraceStore(self.telemetry).trace(task.trace_id)
        ]
        if spans and self.environment["HAAS_TRACE_URL"] == TRACES:
            link = TRACES.replace("{trace_id}", spans[0].trace_id)
            assert f"({link})" in str(found["trace"].data)
        return Ran(run, found, spans, output)


@pytest.fixture
def flows(server: Api, prefect: PrefectProcesses, tmp_path: Path) -> Flows:
    environment = prefect.environment | {
        "HAAS_DATA_DIR": str(tmp_path / "data"),
        "HAAS_OTEL_DIR": str(tmp_path / "telemetry"),
        "HAAS_TRACE_URL": TRACES,
    }
    return Flows(server, environment, tmp_path / "telemetry")
